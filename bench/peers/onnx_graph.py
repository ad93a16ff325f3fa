"""ONNX graphs for the peers that read them: our operators opened into standard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper

OPSET = 20


def kernel_graph(case: Any, inputs: dict[str, Any], result_shape: tuple[int, ...]) -> onnx.ModelProto:
    """One node of domain `spar` as standard operators; weights are initializers, shapes are fixed, all float32."""
    from spar_export import functions

    kind = "".join(word.capitalize() for word in case.op.split("_"))
    body = functions.decomposition(kind, OPSET)
    # The inliner leaves an attribute out that the node does not have, so defaults are written down.
    numbers = {each.name: helper.get_attribute_value(each) for each in body.attribute_proto}
    numbers |= {name: value for name, value in inputs.items() if not isinstance(value, np.ndarray)}
    node = helper.make_node(kind, list(body.input), ["out"], domain=functions.DOMAIN, **numbers)
    graph = helper.make_graph(
        [node], case.op,
        [_info(name, inputs[name].shape) for name in body.input if name in case.changing],
        [_info("out", result_shape)],
        [numpy_helper.from_array(inputs[name], name) for name in body.input if name not in case.changing],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(functions.DOMAIN, functions.VERSION)]
    model = helper.make_model(graph, functions=[body], opset_imports=opsets, ir_version=10)
    return inliner.inline_local_functions(model)


def _info(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
