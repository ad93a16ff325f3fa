"""The decompositions of the operators of domain `spar`, inlined by stock ONNX Runtime, against float64 oracles."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from spar_engine.oracle import dynamic_token_routing, glumbconv_core, relu_linear_attention
from spar_export import functions
from spar_export.versions import IR_VERSION, OPSET

TENSORS = {
    "DynamicTokenRouting": ("levels", "w1", "b1", "w2", "b2", "scales", "norm_weight", "norm_bias", "proj_weight",
                            "proj_bias"),
    "GlumbconvCore": ("x", "weight", "bias"),
    "ReluLinearAttention": ("query", "key", "value"),
}  # fmt: skip
ROUTING = dict(dynamic_token_routing.examples(np.random.default_rng(0)))
# No component has a picture of no tokens or none at all; there ReduceSum of ONNX Runtime loses an axis.
ATTENTION = {name: inputs for name, inputs in relu_linear_attention.examples(np.random.default_rng(0))
             if inputs["query"].size}  # fmt: skip
CORES = {name: inputs for name, inputs in glumbconv_core.examples(np.random.default_rng(0)) if inputs["x"].size}


def run(kind, inputs, dtype=np.float32, **attributes):
    """One node of our domain in a model of its own."""
    names, element = TENSORS[kind], helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    arrays = {name: np.asarray(inputs[name], dtype) for name in names}
    rank = 2 if kind == "DynamicTokenRouting" else 4
    node = helper.make_node(kind, list(names), ["out"], domain=functions.DOMAIN, **attributes)
    values = [helper.make_tensor_value_info(name, element, [None] * array.ndim) for name, array in arrays.items()]
    graph = helper.make_graph([node], "one", values, [helper.make_tensor_value_info("out", element, [None] * rank)])
    model = helper.make_model(
        graph,
        functions=[functions.decomposition(kind, OPSET)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(functions.DOMAIN, functions.VERSION)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, arrays)[0]


@pytest.mark.parametrize("name", ROUTING)
def test_dynamic_token_routing(name):
    inputs = ROUTING[name]
    got = run("DynamicTokenRouting", inputs, temperature=float(inputs["temperature"]))
    dynamic_token_routing.check_result(got, None, inputs)


@pytest.mark.parametrize("name", CORES)
def test_glumbconv_core(name):
    inputs = CORES[name]
    glumbconv_core.check_result(run("GlumbconvCore", inputs, channels=len(inputs["bias"])), inputs)


@pytest.mark.parametrize("name", ATTENTION)
def test_relu_linear_attention(name):
    inputs = ATTENTION[name]
    got = run("ReluLinearAttention", inputs, eps=float(inputs.get("eps", 1e-15)))
    relu_linear_attention.check_result(got, inputs)


def test_the_temperature_of_the_node_counts():
    inputs = ROUTING["odd-sizes"]
    with pytest.raises(AssertionError):
        dynamic_token_routing.check_result(run("DynamicTokenRouting", inputs), None, inputs)


def test_sums_stay_in_float32_for_half_inputs():
    """4096 tokens of float16, whose sums would not fit its 11 bits."""
    inputs = relu_linear_attention.random_inputs(np.random.default_rng(1), 1, 2, 4096, 8)
    half = {name: inputs[name].astype(np.float16) for name in TENSORS["ReluLinearAttention"]}
    got = run("ReluLinearAttention", half, np.float16)
    want = relu_linear_attention.relu_linear_attention(*(half[name] for name in TENSORS["ReluLinearAttention"]))
    assert got.dtype == np.float16
    assert np.abs(got - want).max() <= 2.0**-11 * np.abs(want).max() + 1e-4


def test_every_operator_is_decomposed():
    assert set(TENSORS) == set(functions.NAMES)
    for name in functions.NAMES:
        function = functions.decomposition(name, OPSET)
        assert (function.domain, function.name) == (functions.DOMAIN, name)
        assert tuple(function.input) == TENSORS[name]
        assert {node.domain for node in function.node} == {""}
        assert TensorProto.FLOAT in {attribute.i for node in function.node for attribute in node.attribute}
