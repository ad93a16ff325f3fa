"""A torch module captured once for each set of shapes and replayed: what a careful torch user does on a GPU."""

from __future__ import annotations

from typing import Any

import torch

WARM_UP = 3  # runs before the capture, so that libraries have chosen their kernels


class Replayed:
    """Calls like the module. Results live in the graph's own memory until the next call with the same shapes."""

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self._graphs: dict[tuple[Any, ...], tuple[Any, list[torch.Tensor], tuple[torch.Tensor, ...]]] = {}

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        if key not in self._graphs:
            self._graphs[key] = self._capture(inputs)
        graph, held, outputs = self._graphs[key]
        for mine, given in zip(held, inputs, strict=True):
            mine.copy_(given)
        graph.replay()
        return outputs

    def _capture(self, inputs: tuple[torch.Tensor, ...]) -> tuple[Any, list[torch.Tensor], tuple[torch.Tensor, ...]]:
        held = [tensor.clone() for tensor in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.module(*held)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.module(*held)
        return graph, held, outputs
