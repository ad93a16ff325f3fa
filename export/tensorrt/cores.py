"""Finds what lies between the two 1x1 convolutions of GLUMBConv and makes it one node of domain `spar`.

The kernel behind `GlumbconvCore` reads tokens as they come from a product, channels last. So only cores between two
products over tokens are taken, as in the DiT; those of the decoder lie between convolutions of pictures, and a
transposition on either side would cost as much as the kernel saves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..functions import DOMAIN, VERSION, decomposition

KIND = "GlumbconvCore"
_LAST, _TAPS = "spar/channels_last", "spar/taps"
_SHAPES = {_LAST: [0, 2, 3, 1], _TAPS: [-1, 9]}
"""Constants that the nodes read: the axes of a picture with channels last, and a depthwise kernel as rows of taps."""


@dataclass(frozen=True, slots=True)
class _Core:
    """One match."""

    tokens: str  # [batch, pixels, channels]
    sizes: str  # shape of the picture, [batch, channels, rows, columns]; 0 and -1 as in Reshape
    conv: NodeProto
    channels: int
    last: NodeProto  # Reshape to [batch * pixels, hidden]
    gone: tuple[NodeProto, ...]


def with_cores(model: ModelProto) -> ModelProto:
    """The same model with a node for every core over tokens; the model itself where there is none."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in graph.output}

    def only(name: str) -> NodeProto | None:
        """The one node that reads a value, if that is all that happens to it."""
        found = readers.get(name, [])
        return found[0] if len(found) == 1 and name not in results else None

    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    found = [core for node in convs if (core := _match(node, made, readers, only, shapes)) is not None]
    return _written(model, found) if found else model


def _match(
    conv: NodeProto, made: dict[str, NodeProto], readers: dict[str, list[NodeProto]],
    only: Callable[[str], NodeProto | None], shapes: dict[str, tuple[int, ...]],
) -> _Core | None:  # fmt: skip
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in conv.attribute}
    if (values.get("kernel_shape"), values.get("pads"), values.get("strides"), values.get("dilations")) != (
        [3, 3], [1] * 4, [1] * 2, [1] * 2) or len(conv.input) != 3:  # fmt: skip
        return None
    channels = values["group"]
    weight = conv.input[1]
    while weight in made and made[weight].op_type == "Cast":
        weight = made[weight].input[0]
    if shapes.get(weight) != (channels, 1, 3, 3) or channels % 2:
        return None
    into = _gate(made.get(conv.input[0]), made)  # (x, Sigmoid, Mul) of SiLU
    split = only(conv.output[0])
    if into is None or split is None or split.op_type != "Split" or len(split.output) != 2:
        return None
    silu = next((node for node in readers.get(split.output[1], []) if node.op_type == "Mul"), None)
    after, product = _gate(silu, made), only(split.output[0])
    if after is None or after[0] != split.output[1] or product is None or product.op_type != "Mul":
        return None
    if set(product.input) != {split.output[0], silu.output[0]}:
        return None
    picture = made.get(into[0])
    turned = made.get(picture.input[0]) if picture is not None and picture.op_type == "Reshape" else None
    if turned is None or not _turns(turned):
        return None
    chain = [only(product.output[0])]
    for _ in range(2):
        chain.append(only(chain[-1].output[0]) if chain[-1] is not None else None)
    flat, back, last = chain
    if last is None or (flat.op_type, last.op_type) != ("Reshape", "Reshape") or not _turns(back):
        return None
    gone = (picture, turned, *into[1:], conv, split, *after[1:], product, flat, back, last)
    return _Core(turned.input[0], picture.input[1], conv, channels, last, gone)


def _gate(node: NodeProto | None, made: dict[str, NodeProto]) -> tuple[str, NodeProto, NodeProto] | None:
    """(x, Sigmoid, Mul) where `node` is x * sigmoid(x)."""
    if node is None or node.op_type != "Mul":
        return None
    for x, gate in (node.input, tuple(node.input)[::-1]):
        if gate in made and made[gate].op_type == "Sigmoid" and made[gate].input[0] == x:
            return x, made[gate], node
    return None


def _turns(node: NodeProto) -> bool:
    """Whether a node swaps tokens and channels."""
    return node.op_type == "Transpose" and helper.get_node_attr_value(node, "perm") == [0, 2, 1]


def _written(model: ModelProto, found: list[_Core]) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    gone = {id(node) for core in found for node in core.gone}
    place = {id(core.last): core for core in found}
    nodes = []
    for node in model.graph.node:
        if id(node) in place:
            nodes += _nodes(place[id(node)])
        elif id(node) not in gone:
            nodes.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)
    numbers = _SHAPES | {f"{core.last.output[0]}/rows": [-1, core.channels // 2] for core in found}
    for name, values in numbers.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    opset = next(one.version for one in model.opset_import if not one.domain)
    if KIND not in {function.name for function in copy.functions}:
        copy.functions.append(decomposition(KIND, opset))
    if DOMAIN not in {one.domain for one in copy.opset_import}:
        copy.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return copy


def _nodes(core: _Core) -> list[NodeProto]:
    """The node, and what brings its inputs into shape; the weight's part follows from parameters alone."""
    conv, out = core.conv, core.last.output[0]
    sizes, picture, rows, taps, made = (f"{out}/{part}" for part in ("sizes", "picture", "by_channel", "taps", "core"))
    return [
        helper.make_node("Gather", [core.sizes, _LAST], [sizes], name=f"{conv.name}/sizes"),
        helper.make_node("Reshape", [core.tokens, sizes], [picture], name=f"{conv.name}/picture"),
        helper.make_node("Reshape", [conv.input[1], _TAPS], [rows], name=f"{conv.name}/rows"),
        helper.make_node("Transpose", [rows], [taps], name=f"{conv.name}/taps", perm=[1, 0]),
        helper.make_node(KIND, [picture, taps, conv.input[2]], [made], name=f"{conv.name}/core", domain=DOMAIN,
                         channels=core.channels),
        helper.make_node("Reshape", [made, f"{out}/rows"], [out], name=f"{conv.name}/flat"),
    ]  # fmt: skip
