"""Runs typed graphs in ONNX Runtime on the CPU: float16 as it is, bfloat16 as float32 rounded after every node."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from spar_engine.weights.dtypes import to_f32

BF16, F32 = TensorProto.BFLOAT16, TensorProto.FLOAT


def with_weights(model: ModelProto, values: dict[str, np.ndarray]) -> ModelProto:
    """A copy of the model that holds its weights; bf16 as bits."""
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if not tensor.HasField("raw_data"):
            assert values[tensor.name].shape == tuple(tensor.dims), tensor.name
            tensor.raw_data = values[tensor.name].tobytes()
    return made


def emulated(model: ModelProto) -> ModelProto:
    """A model without bfloat16: its values are float32, and what would be stored as bfloat16 is rounded to it."""
    made = ModelProto()
    made.CopyFrom(model)
    graph, kinds = made.graph, {}
    for tensor in graph.initializer:
        if tensor.data_type == BF16:
            bits = np.frombuffer(tensor.raw_data, np.uint16).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(to_f32(bits, "BF16"), tensor.name))
            kinds[tensor.name] = BF16
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == BF16:
            value.type.tensor_type.elem_type = F32
            kinds[value.name] = BF16
    nodes = []
    for node in graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        rounds = _narrow(node, kinds)
        if node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == BF16:
            copy.attribute[0].i = F32
        if rounds:
            for i, name in enumerate(node.output):
                copy.output[i] = f"{name}/unrounded"
            nodes.append(copy)
            for name in node.output:
                kinds[name] = BF16
                nodes.append(helper.make_node("Cast", [f"{name}/unrounded"], [f"{name}/rounded"], to=BF16))
                nodes.append(helper.make_node("Cast", [f"{name}/rounded"], [name], to=F32))
        else:
            nodes.append(copy)
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def _narrow(node: NodeProto, kinds: dict[str, int]) -> bool:
    """Whether a node's result is bfloat16."""
    if node.op_type == "Cast":
        return helper.get_node_attr_value(node, "to") == BF16
    if node.op_type in ("Shape", "Less", "LessOrEqual", "Equal", "QuantizeLinear"):
        return False
    if node.op_type == "DequantizeLinear":  # it gives the type of its factor
        return kinds.get(node.input[1]) == BF16
    data = node.input[1:] if node.op_type == "Where" else node.input[:1]
    return any(kinds.get(name) == BF16 for name in data)


def run(model: ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name; inputs are given in float32 and int64 and become what the graph wants."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
    given = {value.name: inputs[value.name].astype(kinds[value.type]) for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return {name: np.asarray(got, np.float32) for name, got in zip(names, session.run(names, given), strict=True)}
