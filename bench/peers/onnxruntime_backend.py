"""ONNX Runtime with dynamically quantized weights as a backend; its fp32 is the engine's own backend `onnxruntime`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from spar_engine.components import components
from spar_engine.errors import BackendError

from .exported import kept_at, loaded_model, opened_graph
from .onnxruntime_peer import options

EXACT = frozenset(("modulation",))  # left in float32: it runs once a schedule


class Int8Backend:
    """Components as sessions whose MatMul and Gemm weights are int8 per channel, activations quantized on the way."""

    precision = "int8"

    def __init__(self, name: str, weights: Any, threads: int):
        self.name, self.weights, self.config, self.threads = name, weights, weights.config, threads
        self._specs = components(weights.config)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def load(self, component: str) -> onnxruntime.InferenceSession:
        if component not in self._sessions:
            path = opened_graph(self.weights, component) if component in EXACT else quantized(self.weights, component)
            self._sessions[component] = onnxruntime.InferenceSession(
                str(path), options(self.threads), providers=["CPUExecutionProvider"]
            )
        return self._sessions[component]

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        session, names = self.load(component), list(self._specs[component].outputs)
        taken = {port.name for port in session.get_inputs()}
        given = {name: np.asarray(value) for name, value in inputs.items() if name in taken}
        return dict(zip(names, session.run(names, given), strict=True))

    def unload(self, component: str) -> None:
        self._sessions.pop(component, None)

    def close(self) -> None:
        self._sessions.clear()


def quantized(weights: Any, component: str) -> Path:
    """The quantized copy of a graph, kept in the user's cache."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = kept_at(f"int8-{onnxruntime.__version__}", weights, component)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # Exported weights are bf16 with casts behind them, which the quantizer does not look through.
    model = float_weights(loaded_model(weights, component))
    aside = path.with_suffix(f".{os.getpid()}.onnx")
    quantize_dynamic(model, aside, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
                     weight_type=QuantType.QInt8, use_external_data_format=True)  # fmt: skip
    os.replace(aside, path)
    return path


def float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with bf16 weights widened and the casts, and transposes of weights, behind them folded."""
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        source = held.get(node.input[0]) if node.input else None
        if source is not None and node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT:
            held[node.output[0]] = numpy_helper.from_array(_array(source), node.output[0])
        elif source is not None and node.op_type == "Transpose":
            order = list(node.attribute[0].ints) if node.attribute else None
            turned = np.ascontiguousarray(_array(source).transpose(order))
            held[node.output[0]] = numpy_helper.from_array(turned, node.output[0])
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | {out.name for out in model.graph.output}
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(tensor for name, tensor in held.items() if name in used)
    return model


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).astype(np.float32)


def open_backend(name: str, precision: str, weights: Any, threads: int) -> Int8Backend:
    if precision != "int8":
        raise BackendError(f"{name}-{precision}: use --backend onnxruntime; as a peer it has int8 only")
    return Int8Backend(name, weights, threads)
