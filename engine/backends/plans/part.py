"""A component as it runs: an engine, or two with one of our launches between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import BackendError, InputError
from .launches import Step, Tensor
from .library import stored_types
from .manifest import PlanEntry

Places = dict[str, Tensor]
"""Value -> where it lies."""


class EngineStep:
    """One engine, shared by all threads."""

    def __init__(self, name: str, engine: Any, entry: PlanEntry, trt: Any):
        self.name, self.engine, self._entry, self._trt = name, engine, entry, trt
        self._lock, self._compiled = threading.Lock(), None
        types = stored_types(trt)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.kinds = {tensor: types[engine.get_tensor_dtype(tensor)] for tensor in names}
        self.inputs = [tensor for tensor in names if engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT]
        self.outputs = [tensor for tensor in names if tensor not in self.inputs]
        self.scratch = engine.device_memory_size_v2

    def context(self) -> Any:
        """A new context without scratch of its own.

        TensorRT-RTX compiles kernels where they run: here at once for the sizes asked for, as a captured graph would
        keep the slow ones that stand in until then, and once for all contexts."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not hasattr(self._trt, "DynamicShapesKernelSpecializationStrategy"):
            return self.engine.create_execution_context(strategy)
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        with self._lock:
            if self._compiled is None:
                self._compiled = config.create_runtime_cache()
        config.set_runtime_cache(self._compiled)
        return self.engine.create_execution_context(config)

    def profile_of(self, shapes: dict[str, tuple[int, ...]]) -> int:
        """Index of the first profile that takes these shapes; profiles go from tight to wide.

        errors  InputError, naming what the plan was built for
        """
        for index in range(self.engine.num_optimization_profiles):
            limits = {name: self.engine.get_tensor_profile_shape(name, index) for name in shapes}
            if all(all(low <= size <= high for low, size, high in zip(least, shapes[name], most, strict=True))
                   for name, (least, _, most) in limits.items()):  # fmt: skip
                return index
        built = "; ".join(
            f"{profile.name}: " + ", ".join(f"{axis} {low}..{high}" for axis, (low, _, high) in profile.axes.items())
            for profile in self._entry.profiles
        )
        raise InputError(f"{self.name}: no profile of the plan takes {shapes}; it was built for {built}; "
                         "build one with --buckets or --dynamic")  # fmt: skip

    def prepare(self, lane: Any, places: Places) -> Callable[[], None]:
        """What puts one run into the lane's stream, reading its inputs and writing its results where `places` says.

        places  holds the inputs; the outputs are added
        """
        context, shapes = lane.context(self), {name: places[name].shape for name in self.inputs}
        profile = self.profile_of(shapes)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, lane.stream)
            lane.device.wait(lane.stream)
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise BackendError(f"tensorrt: {self.name} does not take `{name}` of shape {shape}")
        for name in self.outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise BackendError(f"tensorrt: {self.name} does not tell the shape of `{name}`")
            places[name] = lane.place(self.kinds[name], shape)
        for name in self.kinds:
            context.set_tensor_address(name, places[name].address)

        def work() -> None:
            if not context.execute_async_v3(lane.stream):
                raise BackendError(f"tensorrt: {self.name} failed; its log names the layer")

        return work


class Part:
    """One component.

    steps  engines and launches, in order; the results are those of the last engine
    """

    def __init__(self, name: str, entry: PlanEntry, steps: list[EngineStep | Step]):
        self.name, self.entry, self.steps = name, entry, steps
        self.engines = [step for step in steps if isinstance(step, EngineStep)]
        self.kinds: dict[str, np.dtype] = {}
        for step in self.engines:
            self.kinds |= step.kinds
        self.results = self.engines[-1].outputs
        self.scratch = max(step.scratch for step in self.engines)

    def prepare(self, lane: Any, places: Places) -> list[Callable[[], None]]:
        """The works of all steps, in order."""
        return [step.prepare(lane, places) for step in self.steps]

    def close(self) -> None:
        """Free what the launches hold."""
        for step in self.steps:
            if isinstance(step, Step):
                step.close()
