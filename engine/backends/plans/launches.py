"""Our operators between two plans: what a launch needs beside the tensors, by the name of the ONNX operator."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArtefactError, MissingDependency
from .manifest import Cut

Shape = tuple[int, ...]

KINDS = {np.dtype(np.float32): "<f4", np.dtype(np.uint16): "<u2", np.dtype(np.int32): "<i4", np.dtype(np.uint8): "|u1"}
"""How memory is described to `spar_engine._cuda`; bf16 as its bits."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Dense memory on the GPU."""

    address: int
    kind: np.dtype
    shape: Shape

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.kind.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"data": (self.address, False), "typestr": KINDS[self.kind], "shape": self.shape, "version": 3}


@dataclass(frozen=True, slots=True)
class Launch:
    """One operator of `spar_engine._cuda`, whose arguments have the names of the ONNX node's inputs."""

    function: str
    result: str  # its argument for the result
    shape: Callable[[Mapping[str, Shape]], Shape]  # of the result
    workspace: Callable[[Any, Mapping[str, Shape]], int]  # bytes of scratch, asked of the module
    fault: Callable[[Mapping[str, Shape]], str]  # why the kernel does not take weights of these shapes; empty: it does


def _routing_scratch(module: Any, shapes: Mapping[str, Shape]) -> int:
    depth, tokens, _ = shapes["levels"]
    return module.dynamic_token_routing_workspace(tokens=tokens, hidden=shapes["w1"][0], depth=depth)


def _routing_fault(shapes: Mapping[str, Shape]) -> str:
    (hidden, width), (depth, _) = shapes["w1"], shapes["w2"]
    if width % 8 or hidden % 8:
        return f"width={width} and hidden={hidden} must be multiples of 8"
    if depth > 32 or width > 3072:
        return f"depth={depth} and width={width} may be at most 32 and 3072"
    return ""


LAUNCHES = {
    "DynamicTokenRouting": Launch(
        "dynamic_token_routing", "routed", lambda shapes: shapes["levels"][1:], _routing_scratch, _routing_fault
    ),
}
"""ONNX operator -> how it is launched."""


class Step:
    """One launch between two engines, with the operator's weights on the GPU.

    weights  name of an input -> its numbers, as they lie in memory
    errors   ArtefactError for an operator that this version does not launch
    """

    def __init__(self, component: str, cut: Cut, module: Any, device: Any, weights: Mapping[str, np.ndarray]):
        if cut.operator not in LAUNCHES:
            raise ArtefactError(f"{component}: its plans were cut at {cut.operator}, which this version does not "
                                f"launch; it has {', '.join(LAUNCHES)}; build them again")  # fmt: skip
        self.name, self._cut, self._module, self._device = component, cut, module, device
        self._weights: dict[str, Tensor] = {}
        stream = device.stream()
        try:
            for name, array in weights.items():
                self._weights[name] = Tensor(device.allocate(array.nbytes), array.dtype, array.shape)
                device.copy_in(self._weights[name].address, array, stream)
            device.wait(stream)
        except BaseException:
            self.close()
            raise
        finally:
            device.end_stream(stream)

    def prepare(self, lane: Any, places: dict[str, Tensor]) -> Callable[[], None]:
        """What puts the launch into the lane's stream; its result is added to `places`."""
        cut, launch = self._cut, LAUNCHES[self._cut.operator]
        given = {one.name: places[one.value] for one in cut.operands if one.slot is None} | self._weights
        shapes = {name: tensor.shape for name, tensor in given.items()}
        places[cut.result] = lane.place(np.dtype(np.uint16), launch.shape(shapes))
        scratch = lane.place(np.dtype(np.uint8), (launch.workspace(self._module, shapes),))
        function = getattr(self._module, launch.function)

        def work() -> None:
            function(**given, **cut.attributes, **{launch.result: places[cut.result]}, workspace=scratch,
                     stream=lane.stream)  # fmt: skip

        return work

    def close(self) -> None:
        """Free the weights."""
        while self._weights:
            self._device.free(self._weights.popitem()[1].address)


def kernels() -> Any:
    """The module of our CUDA kernels; MissingDependency where it was not built."""
    if importlib.util.find_spec("spar_engine._cuda") is None:
        raise MissingDependency("our CUDA kernels (spar_engine._cuda) are not built here; build with SPAR_CUDA=1, see "
                                "docs/build.md, or make plans that do not need them: leave out --cut")  # fmt: skip
    return importlib.import_module("spar_engine._cuda")
