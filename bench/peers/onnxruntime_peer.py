"""ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from .base import Arrays
from .onnx_graph import kernel_graph

WIDE = True  # live arrays of a kernel are float32, whatever the row's dtype


def options(threads: int) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads, made.inter_op_num_threads = threads, 1
    made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    made.log_severity_level = 3
    return made


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """MatMul and Gemm weights in int8 per channel, activations quantized on the way."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "op.onnx"
        quantize_dynamic(model, path, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
                         weight_type=QuantType.QInt8)  # fmt: skip
        return onnx.load(path)


class BoundSession:
    """One session over fixed input and result buffers."""

    def __init__(self, session: onnxruntime.InferenceSession, live: Arrays):
        self.session, self.binding = session, session.io_binding()
        for name, array in live.items():
            self.binding.bind_cpu_input(name, array)  # the memory itself, not a copy
        self.results = {out.name: np.empty(out.shape, np.float32) for out in session.get_outputs()}
        for name, array in self.results.items():
            self.binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> Arrays:
        return {name: array.copy() for name, array in self.results.items()}

    def live(self) -> Arrays:
        return self.results


def kernel(name: str, work: Any, threads: int) -> Callable[[Arrays], BoundSession]:
    """From a `Work` to a function that binds live float32 arrays of its changing inputs."""
    graph = kernel_graph(work)
    if work.dtype == "int8":
        graph = quantized(graph)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options(threads), providers=["CPUExecutionProvider"]
    )
    return lambda live: BoundSession(session, live)
