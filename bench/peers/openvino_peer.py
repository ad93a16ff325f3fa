"""OpenVINO on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import openvino as ov

from .base import Arrays
from .onnx_graph import kernel_graph

WIDE = True  # live arrays of a kernel are float32, whatever the row's dtype


@cache
def core() -> ov.Core:
    return ov.Core()


def settings(precision: str, threads: int) -> dict[str, Any]:
    """Of a compiled model; with int8 the plugin chooses the type of what is not compressed."""
    chosen = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads)}
    if precision == "int8":
        return chosen | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}
    return chosen | {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}


def compressed(model: ov.Model) -> ov.Model:
    """The model with its weights in int8, a scale for each column."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)


class BoundRequest:
    """One request over fixed input and result buffers."""

    def __init__(self, model: ov.CompiledModel, live: Arrays):
        self.request = model.create_infer_request()
        self.kept = dict(live)
        for port in model.inputs:
            self.request.set_tensor(port, ov.Tensor(live[port.any_name], shared_memory=True))
        self.results = {port.any_name: np.empty(tuple(port.shape), np.float32) for port in model.outputs}
        for port in model.outputs:
            self.request.set_tensor(port, ov.Tensor(self.results[port.any_name], shared_memory=True))

    def run(self) -> None:
        self.request.infer()

    def outputs(self) -> Arrays:
        return {name: array.copy() for name, array in self.results.items()}

    def live(self) -> Arrays:
        return self.results


def kernel(name: str, work: Any, threads: int) -> Callable[[Arrays], BoundRequest]:
    """From a `Work` to a function that binds live float32 arrays of its changing inputs."""
    model = core().read_model(kernel_graph(work).SerializeToString())
    precision = {"f32": "fp32"}.get(work.dtype, work.dtype)
    if precision == "int8":
        model = compressed(model)
    ready = core().compile_model(model, "CPU", settings(precision, threads))
    return lambda live: BoundRequest(ready, live)
