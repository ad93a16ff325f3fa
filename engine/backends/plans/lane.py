"""One thread's share of a GPU: a stream, a scratch arena for all components, a context for each, captured runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BackendError
from ...weights.dtypes import to_bf16, to_f32

CAPTURES = 16
"""Captured runs that a lane keeps, each with its inputs and outputs."""


class OnDevice:
    """A tensor that stays on the GPU between two calls. Its values are copied only when numpy asks for them."""

    dtype = np.dtype(np.float32)

    def __init__(self, device: Any, address: int, shape: tuple[int, ...], kind: np.dtype, stream: int):
        self.device, self.address, self.shape, self.kind, self._stream = device, address, shape, kind, stream

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.kind.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.device.enter()
        made = np.empty(self.shape, self.kind)
        self.device.copy_out(made, self.address, self._stream)
        self.device.wait(self._stream)
        return np.asarray(widened(made), dtype=dtype)

    def __del__(self):
        self.device.enter()  # any thread may be the last to hold it
        self.device.free(self.address)


@dataclass(slots=True)
class Captured:
    """One run of a component at one set of shapes: fixed addresses, and the graph over them."""

    graph: int
    inputs: dict[str, tuple[int, np.dtype]]
    outputs: dict[str, tuple[int, np.dtype, tuple[int, ...]]]


class Lane:
    """Runs one component at a time.

    device  the GPU
    arena   bytes of scratch that every component's context works in
    """

    def __init__(self, device: Any, arena: int):
        self.device = device
        device.enter()
        self.stream, self.size, self.arena = device.stream(), arena, device.allocate(arena)
        self._contexts: dict[str, Any] = {}
        self._captured: OrderedDict[tuple, Captured] = OrderedDict()

    def run(self, part: Any, inputs: dict[str, Any], stays: frozenset[str]) -> dict[str, Any]:
        """Outputs of one component.

        part    the component: `name`, `engine`, `profile_of(shapes)`, `kinds`, `context()`
        inputs  arrays, or values that a former run left on the GPU
        stays   names of outputs that stay there
        """
        self.device.enter()
        shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        key = (part.name, *sorted(shapes.items()))
        if key not in self._captured:
            self._captured[key] = self._capture(part, shapes)
            while len(self._captured) > CAPTURES:
                self._forget(self._captured.popitem(last=False)[1])
        self._captured.move_to_end(key)
        captured = self._captured[key]
        for name, (address, kind) in captured.inputs.items():
            self._put(address, kind, inputs[name])
        self.device.launch(captured.graph, self.stream)
        made = {name: self._get(name, *place, stays) for name, place in captured.outputs.items()}
        self.device.wait(self.stream)
        return {name: value if isinstance(value, OnDevice) else widened(value) for name, value in made.items()}

    def drop(self, name: str | None = None) -> None:
        """Forget what belongs to one component, or to all."""
        self.device.enter()
        self.device.wait(self.stream)
        for key in [key for key in self._captured if name in (None, key[0])]:
            self._forget(self._captured.pop(key))
        for component in [one for one in self._contexts if name in (None, one)]:
            del self._contexts[component]

    def close(self) -> None:
        self.drop()
        self.device.free(self.arena)
        self.device.end_stream(self.stream)

    def _capture(self, part: Any, shapes: dict[str, tuple[int, ...]]) -> Captured:
        """Fix addresses for these shapes, run once so that everything is chosen, then capture."""
        context = self._context(part)
        profile = part.profile_of(shapes)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, self.stream)
            self.device.wait(self.stream)
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise BackendError(f"tensorrt: {part.name} does not take `{name}` of shape {shape}")
        made = Captured(0, {}, {})
        try:
            for name, kind in part.kinds.items():
                shape = shapes[name] if name in shapes else tuple(context.get_tensor_shape(name))
                if min(shape, default=1) < 0:
                    raise BackendError(f"tensorrt: {part.name} does not tell the shape of `{name}`")
                address = self.device.allocate(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
                if name in shapes:
                    made.inputs[name] = address, kind
                else:
                    made.outputs[name] = address, kind, shape
                context.set_tensor_address(name, address)
            self._enqueue(part, context)()
            self.device.wait(self.stream)
            made.graph = self.device.capture(self.stream, self._enqueue(part, context))
        except BaseException:
            self._forget(made)
            raise
        return made

    def _enqueue(self, part: Any, context: Any) -> Callable[[], None]:
        def work() -> None:
            if not context.execute_async_v3(self.stream):
                raise BackendError(f"tensorrt: {part.name} failed; its log names the layer")

        return work

    def _context(self, part: Any) -> Any:
        if part.name not in self._contexts:
            context = part.context()
            context.set_device_memory(self.arena, self.size)
            self._contexts[part.name] = context
        return self._contexts[part.name]

    def _put(self, address: int, kind: np.dtype, value: Any) -> None:
        if isinstance(value, OnDevice):
            self.device.copy(address, value.address, value.nbytes, self.stream)
        else:
            self.device.copy_in(address, narrowed(np.asarray(value), kind), self.stream)

    def _get(self, name: str, address: int, kind: np.dtype, shape: tuple[int, ...], stays: frozenset[str]) -> Any:
        if name not in stays:
            array = np.empty(shape, kind)
            self.device.copy_out(array, address, self.stream)
            return array
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        kept = OnDevice(self.device, self.device.allocate(size), shape, kind, self.stream)
        self.device.copy(kept.address, address, size, self.stream)
        return kept

    def _forget(self, captured: Captured) -> None:
        if captured.graph:
            self.device.end_graph(captured.graph)
        for address, *_ in (*captured.inputs.values(), *captured.outputs.values()):
            self.device.free(address)


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
