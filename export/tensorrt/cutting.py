"""Cuts a typed graph at an operator of domain `spar`: what comes before it, the operator, and what comes after.

The parser of TensorRT-RTX ends the process on plugin layers, so a fused kernel of ours can only run between two plans.
Both are ordinary typed graphs; the operator's weights belong to neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, shape_inference
from spar_engine.backends.plans.launches import LAUNCHES
from spar_engine.errors import BackendError

from ..functions import DOMAIN, decomposition
from .ours import VECTORS
from .typed import WIDER

Shapes = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Halves:
    """A graph in two parts with an operator between them."""

    before: ModelProto
    after: ModelProto
    operator: str
    attributes: dict[str, float]
    operands: tuple[tuple[str, str], ...]  # name of the operator's input -> value of `before`, or a weight
    weights: tuple[TensorProto, ...]  # the operator's, without data
    result: str  # value that `after` reads
    whole: ModelProto  # as it was

    def between(self, shapes: Mapping[str, Iterable[int]]) -> Shapes:
        """Shapes of what `after` reads from before it, for shapes of the component's inputs.

        errors  BackendError where one does not follow from the graph
        """
        inputs = {value.name for value in self.whole.graph.input}
        names = [value.name for value in self.after.graph.input if value.name not in inputs]
        return _shapes(self.whole, names, shapes)


def cut(model: ModelProto, kind: str) -> Halves | None:
    """The two parts around the only node of operator `kind`; None where there is none, or more than one.

    errors  BackendError where the kernel does not take the operator's sizes
    """
    found = [node for node in model.graph.node if node.domain == DOMAIN and node.op_type == kind]
    if len(found) != 1:
        return None
    node, graph = found[0], model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: one for one in graph.node for name in one.output}
    first = _needed([name for name in node.input if name not in weights], made, set())
    inside = {name for one in first for name in one.output}
    results = [value.name for value in graph.output]
    second = _needed(results, made, {*inside, *node.output})
    read = {name for one in second for name in one.input} | set(results)
    crossing = sorted({*(name for name in node.input if name in inside), *(read & inside)})
    names = tuple(decomposition(kind, _opset(model)).input)
    own, operands = [], []
    for place, (name, value) in enumerate(zip(names, node.input, strict=True)):
        if value in weights:
            own.append(_as_read(weights[value], place in VECTORS.get(kind, ())))
            value = own[-1].name
        operands.append((name, value))
    if fault := LAUNCHES[kind].fault({name: tuple(tensor.dims) for (name, value) in operands for tensor in own
                                      if tensor.name == value}):  # fmt: skip
        raise BackendError(f"{graph.name}: our kernel does not take {kind} here: {fault}; leave out --cut")
    values = {value.name: value for value in shape_inference.infer_shapes(model).graph.value_info}
    before = _part(model, first, graph.input, [_free(values[name], weights) for name in crossing])
    given = [value for value in graph.input if value.name in read]
    given += [_free(values[name], weights) for name in crossing if name in read]
    given += [_free(values[name], weights) for name in node.output]
    attributes = {one.name: float(helper.get_attribute_value(one)) for one in node.attribute}
    return Halves(before, _part(model, second, given, graph.output), kind, attributes, tuple(operands), tuple(own),
                  node.output[0], model)  # fmt: skip


def _needed(wanted: Iterable[str], made: Mapping[str, NodeProto], known: set[str]) -> list[NodeProto]:
    """Nodes that make `wanted`, in order, without those behind values that are `known`."""
    found: dict[int, NodeProto] = {}
    open_names = [name for name in wanted if name not in known]
    while open_names:
        node = made.get(open_names.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            open_names += [name for name in node.input if name not in known]
    place = {key: index for index, key in enumerate(dict.fromkeys(map(id, made.values())))}
    return [found[key] for key in sorted(found, key=place.__getitem__)]


def _as_read(tensor: TensorProto, wide: bool) -> TensorProto:
    """A weight of the operator as the kernel reads it: matrices in the plan's type, vectors in float32."""
    if not wide or tensor.data_type == TensorProto.FLOAT:
        return tensor
    return TensorProto(name=f"{tensor.name}{WIDER}", data_type=TensorProto.FLOAT, dims=tensor.dims)


def _part(model: ModelProto, nodes: list[NodeProto], inputs: Iterable, outputs: Iterable) -> ModelProto:
    """A model of some of the nodes."""
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = helper.make_graph(nodes, model.graph.name, [value for value in inputs if value.name in read],
                              list(outputs), kept)  # fmt: skip
    kinds = {node.op_type for node in nodes if node.domain == DOMAIN}
    return helper.make_model(
        graph, functions=[one for one in model.functions if one.name in kinds], opset_imports=model.opset_import,
        ir_version=model.ir_version, producer_name=model.producer_name,
    )  # fmt: skip


def _free(value, weights: Mapping[str, TensorProto]):
    """An inner value as an input or output: sizes that are not known have no name."""
    tensor = value.type.tensor_type
    if value.name in weights or not tensor.HasField("shape"):
        raise BackendError(f"the number of axes of `{value.name}` is not known; leave out --cut")
    return helper.make_tensor_value_info(
        value.name, tensor.elem_type, [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    )


def _shapes(model: ModelProto, names: list[str], shapes: Mapping[str, Iterable[int]]) -> Shapes:
    """Shapes of inner values for shapes of the inputs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = size
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = {value.name: value.type.tensor_type.shape for value in _inferred(copy).value_info}
    made = {name: [dim.dim_value for dim in found[name].dim] for name in names if name in found}
    for name in names:
        if name not in made or 0 in made[name]:
            raise BackendError(f"{model.graph.name}: the size of `{name}` does not follow from the graph; leave out "
                               "--cut")  # fmt: skip
    return made


def _inferred(model: ModelProto) -> GraphProto:
    return shape_inference.infer_shapes(model, data_prop=True).graph


def _opset(model: ModelProto) -> int:
    return next(one.version for one in model.opset_import if not one.domain)
