"""One thread's share of a GPU: a stream, a scratch arena for all components, captured runs with their contexts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import BackendError
from ...weights.dtypes import to_bf16, to_f32
from ..seam import Staying
from .launches import Tensor

ASIDE = 0
"""The GPU's own stream, for what belongs to no run: a lane's may be in another thread's capture just then. A run has
waited for what it leaves, so nothing has to be waited for before."""
CAPTURES = 16
"""Captured runs that a lane keeps, each with its inputs and outputs."""


class OnDevice(Staying):
    """Memory of the GPU, packed. Its values are copied to the host only when numpy asks for them.

    kind   type of the values there
    owner  whose memory this is a part of; None: its own, to be freed with it
    """

    def __init__(self, device: Any, address: int, shape: tuple[int, ...], kind: np.dtype, owner: Any = None):
        self.device, self.address, self.shape, self.kind, self._owner = device, address, shape, kind, owner

    @property
    def nbytes(self) -> int:
        return _size(self.shape) * self.kind.itemsize

    def __getitem__(self, where: Any) -> OnDevice | np.ndarray:
        """A part: on the GPU where it lies in one piece, else an array. Places are numbers, slices and new axes."""
        if not all(isinstance(one, (int, slice, type(None), type(...))) for one in np.index_exp[where]):
            return np.asarray(self)[where]
        at = np.lib.stride_tricks.as_strided(np.empty(1, self.kind), self.shape, _packed(self.shape, self.kind))
        part = at[where]  # addresses only: nothing is read
        if not part.flags.c_contiguous:
            return np.asarray(self)[where]
        address = self.address + part.__array_interface__["data"][0] - at.__array_interface__["data"][0]
        return OnDevice(self.device, address, part.shape, self.kind, self._owner or self)

    def reshape(self, *shape: int) -> OnDevice:
        """The same memory in another shape of as many values."""
        if _size(shape) != _size(self.shape):
            raise ValueError(f"{self.shape} cannot be seen as {shape}")
        return OnDevice(self.device, self.address, shape, self.kind, self._owner or self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.device.enter()
        made = np.empty(self.shape, self.kind)
        self.device.copy_out(made, self.address, ASIDE)
        self.device.wait(ASIDE)
        return np.asarray(widened(made), dtype=dtype)

    def __del__(self):
        if self._owner is None:
            self.device.enter()  # any thread may be the last to hold it
            self.device.free(self.address)

    def _concatenated(self, parts: Sequence[Any], axis: int = 0) -> OnDevice:
        self.device.enter()
        there = [part if isinstance(part, OnDevice) and part.kind == self.kind else self._beside(part)
                 for part in parts]  # fmt: skip
        shape = list(self.shape)
        shape[axis] = sum(part.shape[axis] for part in there)
        if any(part.shape[:axis] + part.shape[axis + 1 :] != (*shape[:axis], *shape[axis + 1 :]) for part in there):
            raise ValueError(f"shapes {[part.shape for part in there]} differ in more than axis {axis}")
        kind, row, at = self.kind, _size(shape[axis:]) * self.kind.itemsize, 0
        made = OnDevice(self.device, self.device.allocate(_size(shape) * kind.itemsize), tuple(shape), kind)
        for part in there:
            size = _size(part.shape[axis:]) * kind.itemsize
            for number in range(_size(shape[:axis])):
                self.device.copy(made.address + number * row + at, part.address + number * size, size, ASIDE)
            at += size
        self.device.wait(ASIDE)
        return made

    def _beside(self, value: Any) -> OnDevice:
        """An array where this is, and of its type."""
        array = narrowed(np.asarray(value), self.kind)
        made = OnDevice(self.device, self.device.allocate(array.nbytes), array.shape, self.kind)
        self.device.copy_in(made.address, array, ASIDE)
        return made


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _packed(shape: tuple[int, ...], kind: np.dtype) -> tuple[int, ...]:
    """Bytes from one place to the next, along every axis."""
    return tuple(_size(shape[axis + 1 :]) * kind.itemsize for axis in range(len(shape)))


@dataclass(slots=True)
class Captured:
    """One run at one set of shapes: fixed addresses, and the graph over them."""

    graph: int = 0
    places: dict[str, Tensor] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)  # addresses to free
    contexts: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # engine -> its name, and the context


class Lane:
    """Runs one component at a time.

    device  the GPU
    arena   bytes of scratch that every component's context works in
    """

    def __init__(self, device: Any, arena: int):
        self.device = device
        device.enter()
        self.stream, self.size, self.arena = device.stream(), arena, device.allocate(arena)
        self._open = Captured()  # the run that is being captured
        self._captured: OrderedDict[tuple, Captured] = OrderedDict()

    def run(self, part: Any, inputs: dict[str, Any], stays: frozenset[str]) -> dict[str, Any]:
        """Outputs of one component, or of another program of launches.

        part    `name` of the component, `kinds` of its inputs, `results`, `prepare(lane, places)`: the works of a run
        inputs  arrays, or values that a former run left on the GPU
        stays   names of outputs that stay there
        """
        self.device.enter()
        key = (part.name, *sorted((name, tuple(value.shape)) for name, value in inputs.items()))
        if key not in self._captured:
            self._captured[key] = self._capture(part, inputs)
            while len(self._captured) > CAPTURES:
                self._forget(self._captured.popitem(last=False)[1])
        self._captured.move_to_end(key)
        captured = self._captured[key]
        for name, value in inputs.items():
            self._put(captured.places[name], value)
        self.device.launch(captured.graph, self.stream)
        made = {name: self._get(captured.places[name], name in stays) for name in part.results}
        self.device.wait(self.stream)
        return {name: value if isinstance(value, OnDevice) else widened(value) for name, value in made.items()}

    def place(self, kind: np.dtype, shape: tuple[int, ...]) -> Tensor:
        """New memory for the run that is being captured; it lives as long as that."""
        made = Tensor(self.device.allocate(_size(shape) * kind.itemsize), kind, shape)
        self._open.held.append(made.address)
        return made

    def context(self, step: Any) -> Any:
        """The context of an engine in the run that is being captured. A captured graph belongs to the state that its
        context was in, so no two share one; the scratch arena they do."""
        if id(step) not in self._open.contexts:
            context = step.context()
            context.set_device_memory(self.arena, self.size)
            self._open.contexts[id(step)] = step.name, context
        return self._open.contexts[id(step)][1]

    def drop(self, name: str | None = None) -> None:
        """Forget what belongs to one component, or to all."""
        self.device.enter()
        self.device.wait(self.stream)
        for key in [key for key in self._captured if name in (None, key[0])]:
            self._forget(self._captured.pop(key))

    def close(self) -> None:
        self.drop()
        self.device.free(self.arena)
        self.device.end_stream(self.stream)

    def _capture(self, part: Any, inputs: dict[str, Any]) -> Captured:
        """Fix addresses for these shapes, run once so that everything is chosen, then capture."""
        made = self._open = Captured()
        try:
            for name, value in inputs.items():  # filled before the first run: indices among them must be valid
                made.places[name] = self.place(part.kinds[name], tuple(value.shape))
                self._put(made.places[name], value)
            works = part.prepare(self, made.places)

            def run() -> None:
                for work in works:
                    work()

            run()
            self.device.wait(self.stream)
            for name, context in made.contexts.values():
                if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(self.stream):
                    raise BackendError(f"tensorrt: the plan of {name} cannot be captured into a graph; build it again")
            made.graph = self.device.capture(self.stream, run)
        except BaseException:
            self._forget(made)
            raise
        return made

    def _put(self, place: Tensor, value: Any) -> None:
        if isinstance(value, OnDevice) and value.kind == place.kind:
            self.device.copy(place.address, value.address, value.nbytes, self.stream)
        else:
            self.device.copy_in(place.address, narrowed(np.asarray(value), place.kind), self.stream)

    def _get(self, place: Tensor, stays: bool) -> Any:
        if not stays:
            array = np.empty(place.shape, place.kind)
            self.device.copy_out(array, place.address, self.stream)
            return array
        kept = OnDevice(self.device, self.device.allocate(place.nbytes), place.shape, place.kind)
        self.device.copy(kept.address, place.address, place.nbytes, self.stream)
        return kept

    def _forget(self, captured: Captured) -> None:
        if captured.graph:
            self.device.end_graph(captured.graph)
        captured.contexts.clear()
        while captured.held:
            self.device.free(captured.held.pop())


def widened(array: np.ndarray) -> np.ndarray:
    """Values of a plan as they are at the seam: float32, or whole numbers."""
    if array.dtype == np.uint16:
        return to_f32(array, "BF16")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def narrowed(array: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Values of the seam as a plan wants them."""
    if kind == np.uint16:
        return to_bf16(np.asarray(array, np.float32))
    return np.ascontiguousarray(array, kind)
