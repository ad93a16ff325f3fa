"""The typed-graph pass computes the component: three ways against torch in the same type and in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from spar_engine.backends.plans.slots import Filling
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.doctor.oracle import judge
from spar_engine.errors import BackendError
from spar_export.tensorrt import split as splitting
from spar_export.tensorrt import typed as typing
from spar_export.tensorrt.graphs import STAYS

from ..export.conftest import example
from .conftest import NAMES
from .typed_graphs import emulated, run, with_weights

KIND = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16}


def whole(graph, weights):
    """The graph with its weights, as ONNX Runtime can run it on the CPU."""
    constants = None if graph.constants is None else graph.constants.SerializeToString()
    filling = Filling(graph.slots, weights, constants)
    made = with_weights(graph.model, {slot.name: filling.array(slot) for slot in graph.slots})
    return emulated(made) if any(slot.dtype == "BF16" for slot in graph.slots) else made


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("component", NAMES)
def test_as_close_as_torch(component, precision, weights, graph_of):
    spec = components(weights.config)[component]
    inputs = example(spec, weights.config, "usual", np.random.default_rng(5))
    got = run(whole(graph_of(component, precision), weights), inputs)
    plain = TorchBackend(weights, precision=precision, threads=1).run(component, inputs)
    truth = TorchBackend(weights, precision="fp64").run(component, inputs)
    for name in spec.outputs:
        row = judge(component, name, got[name], plain[name], truth[name], precision)
        assert row.passed, row


def test_rounding_is_emulated():
    """Pairs of casts survive the runtime: a product of numbers that bfloat16 does not hold comes out rounded."""
    values = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [3]) for name in "xy"]
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [3])
    nodes = [helper.make_node("Mul", ["x", "y"], ["p"]), helper.make_node("Cast", ["p"], ["z"], to=TensorProto.FLOAT)]
    model = helper.make_model(helper.make_graph(nodes, "one", values, [out]), ir_version=11,
                              opset_imports=[helper.make_opsetid("", 23)])  # fmt: skip
    x = np.array([1.0078125, 3.0, -1.0078125], np.float32)
    assert run(emulated(model), {"x": x, "y": x})["z"].tolist() == [1.015625, 9.0, 1.015625]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("component", NAMES)
def test_every_type_is_written(component, precision, graph_of):
    """Strict type inference finds no node whose inputs differ; products are narrow, norms and softmax wide."""
    model = onnx.shape_inference.infer_shapes(graph_of(component, precision).model, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.input)}
    kinds |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inside = graph_of(component, precision, plugins=True).model  # bodies of our operators have types of their own
    narrow, wide = set(), set()
    for node in inside.graph.node:
        if node.op_type in ("Gemm", "Conv"):
            narrow.update(kinds[name] for name in node.input if name in kinds)
        if node.op_type in ("Softmax", "LayerNormalization", "Sqrt", "Cos"):
            wide.update(kinds[name] for name in node.input if name in kinds)
    assert narrow == {KIND[precision]}
    assert wide <= {TensorProto.FLOAT}


def test_what_stays_on_the_gpu_is_narrow(graph_of):
    for component in ("language", "dit", "context"):
        model = graph_of(component, "bf16").model
        for value in (*model.graph.input, *model.graph.output):
            kind = value.type.tensor_type.elem_type
            if value.name in STAYS:
                assert kind == TensorProto.BFLOAT16
            else:
                assert kind in (TensorProto.FLOAT, TensorProto.INT64)


def test_float16_sums_of_two_streams_are_wide(graph_of):
    def sums(precision):
        model = onnx.shape_inference.infer_shapes(graph_of("language", precision).model)
        kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        held = {tensor.name for tensor in model.graph.initializer}
        return {kinds[node.output[0]] for node in model.graph.node if node.op_type == "Add" and node.output[0] in kinds
                and kinds[node.output[0]] != TensorProto.INT64 and not held.intersection(node.input)}  # fmt: skip

    assert sums("fp16") == {TensorProto.FLOAT}
    assert TensorProto.BFLOAT16 in sums("bf16")


def test_an_operator_without_a_rule():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"], name="odd/erf")], "dit", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    with pytest.raises(BackendError, match=r"dit: node 'odd/erf' \(Erf\) has no rule in the typed-graph pass"):
        typing.typed(model, splitting.split(model), "bf16", (), ())


def test_folded_constants_leave_the_graph(weights, graph_of):
    """Phase kernels of the decoder and biases of the DiT are results of the constants graph, rounded once."""
    for component, least in (("decoder", 20), ("dit", weights.config.dit.depth)):
        graph = graph_of(component, "bf16")
        derived = [slot for slot in graph.slots if slot.derived]
        assert len(derived) >= least
        assert {value.name for value in graph.constants.graph.input} <= set(weights.names())
        assert {slot.source for slot in derived} == {value.name for value in graph.constants.graph.output}
    block = "model.dit.transformer_blocks.0.attn2."
    graph = graph_of("dit", "bf16")
    filling = Filling(graph.slots, weights, graph.constants.SerializeToString())
    bias = weights.f32(f"{block}to_out.0.bias").astype(np.float64)
    want = bias + weights.f32(f"{block}to_out.0.weight").astype(np.float64) @ weights.f32(f"{block}to_v.bias")
    biases = [filling.array(slot) for slot in graph.slots if slot.derived and slot.shape == want.shape]
    nearest = min(np.abs((bits.astype(np.uint32) << 16).view(np.float32) - want).max() for bits in biases)
    assert nearest <= 2.0**-8 * np.abs(want).max() + 1e-6


@pytest.mark.parametrize("component", NAMES)
def test_every_parameter_is_accounted_for(component, weights, graph_of):
    """Slots and constants read exactly the parameters that the component owns, and slot names are unique."""
    graph = graph_of(component, "bf16")
    owned = set(weights.names(component))
    if component == "dit":  # the values' bias is part of the output's
        owned |= {name for name in weights.names("context") if name.endswith(".attn2.to_v.bias")}
    if component == "context":
        owned = {name for name in owned if not name.endswith(".bias") or ".attn2." not in name}
    assert set(graph.parameters) == owned
    assert len({slot.name for slot in graph.slots}) == len(graph.slots)
