"""A function over fixed buffers, captured once and replayed; on a CPU the function itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

WARM_UP = 2  # runs before a capture, in which libraries choose kernels and take their workspaces


class Graph:
    """`replay` does what the function does, as one launch. The function takes nothing and returns nothing: it reads and
    writes tensors that stay where they are."""

    def __init__(self, function: Callable[[], None]):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            function()
        self._function = function  # holds what the graph reads

    def replay(self) -> None:
        self._graph.replay()


class Plain:
    """The same without capturing."""

    def __init__(self, function: Callable[[], None]):
        self._function = function

    def replay(self) -> None:
        self._function()


class Graphs:
    """Graphs by key; the one that was not used for the longest time goes when there are more than `most`.

    captured  capture on the device; False calls the functions as they are
    """

    def __init__(self, captured: bool, most: int):
        self.captured, self.most = captured, most
        self.made = 0  # captures so far
        self._graphs: OrderedDict[Hashable, Graph | Plain] = OrderedDict()

    def replay(self, key: Hashable, function: Callable[[], Callable[[], None]]) -> None:
        """Replay the graph of `key`; the first time, capture what `function()` returns."""
        if key not in self._graphs:
            self._graphs[key] = (Graph if self.captured else Plain)(function())
            self.made += 1
            while len(self._graphs) > self.most:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        self._graphs[key].replay()

    def keys(self) -> list[Hashable]:
        return list(self._graphs)

    def clear(self) -> None:
        self._graphs.clear()
