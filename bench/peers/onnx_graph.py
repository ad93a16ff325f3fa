"""ONNX graphs for the peers that read them: our operators opened into standard ones."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, inliner, numpy_helper, parser

OPSET = 20


def kernel_graph(work: Any) -> onnx.ModelProto:
    """One op as standard operators; weights are initializers, shapes are fixed, all float32."""
    case, inputs = work.case, work.wide(0)
    kind = "".join(word.capitalize() for word in case.op.split("_"))
    body = _function(work, kind)
    # The inliner leaves an attribute out that the node does not have, so defaults are written down.
    numbers = {each.name: helper.get_attribute_value(each) for each in body.attribute_proto}
    numbers |= {name: inputs[name] for name in inputs if name in numbers}
    node = helper.make_node(kind, list(body.input), ["out"], domain=body.domain, **numbers)
    graph = helper.make_graph(
        [node], case.op,
        [_info(name, inputs[name].shape) for name in body.input if name in case.changing],
        [_info("out", work.result_shape)],
        [numpy_helper.from_array(inputs[name], name) for name in body.input if name not in case.changing],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(body.domain, 1)]
    model = helper.make_model(graph, functions=[body], opset_imports=opsets, ir_version=10)
    return inliner.inline_local_functions(model)


def _function(work: Any, kind: str) -> onnx.FunctionProto:
    """The case's own text, or the decomposition that exported models carry."""
    from spar_export import functions

    if work.case.graph is None:
        return functions.decomposition(kind, OPSET)
    text = work.case.graph(**work.case.sizes(work.shape))
    head = f'<domain: "{functions.DOMAIN}", opset_import: ["" : {OPSET}]>'
    return parser.parse_function(f"{head}\n{kind} {text}")


def _info(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
