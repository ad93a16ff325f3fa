"""Cuts a component's graph in two: what follows from parameters alone, and what depends on the inputs.

The first part becomes a graph of its own, the constants graph: it is run on the CPU in float32 when a plan gets its
weights, so that folded biases and phase kernels are rounded once. The second part then reads plain weights only, each
of them a parameter of the checkpoint or a result of the constants graph: a plan can be given other weights by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper, shape_inference

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(slots=True)
class Parts:
    """A graph in two parts."""

    nodes: list[NodeProto]  # depend on the inputs
    weights: dict[str, tuple[str, tuple[int, ...]]]  # value that `nodes` read -> initializer that it is, and its shape
    derived: dict[str, tuple[int, ...]]  # value that `nodes` read -> shape; a result of `constants`
    plain: dict[str, np.ndarray]  # value that `nodes` read -> numbers that no weight decides
    constants: ModelProto | None  # parameters -> derived values, float32; None: there are none
    sizes: dict[str, int] = field(default_factory=dict)  # axes that were made fixed


def split(model: ModelProto, fixed: Mapping[str, int] | None = None) -> Parts:
    """Both parts of a traced model.

    model  from `trace`: parameters are initializers without data
    fixed  sizes of free axes that are to be the same in every run; what follows from them is computed now
    """
    graph, fixed = model.graph, dict(fixed or {})
    numbers = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.HasField("raw_data")
    }
    numbers |= _known_shapes(graph, fixed)
    parameters = {tensor.name: tensor for tensor in graph.initializer if not tensor.HasField("raw_data")}
    still, nodes = _constant(graph, numbers, parameters)
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    views = _views(still, parameters)
    weights = {name: (owner, tuple(parameters[owner].dims)) for name, owner in views.items() if name in read}
    dependent = _dependent(still, parameters)
    numbers |= _sizes(model, still, numbers, dependent)
    still = [node for node in still if node.output[0] not in numbers]
    made = [name for node in still for name in node.output]
    wanted = [name for name in made if name in read and name not in weights]
    plain = {name: array for name, array in numbers.items() if name in read}
    pure = [name for name in wanted if name not in dependent]
    if pure:
        plain |= _evaluate(_subgraph(model, still, pure, numbers, {}), pure, {})
    folded = [name for name in wanted if name in dependent]
    constants = _subgraph(model, still, folded, numbers, parameters) if folded else None
    shapes = {} if constants is None else {value.name: _shape(value) for value in constants.graph.output}
    return Parts(nodes, weights, shapes, plain, constants, fixed)


def _known_shapes(graph: GraphProto, fixed: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Results of Shape nodes over axes whose size is known."""
    known = {}
    for value in graph.input:
        known[value.name] = [dim.dim_value if dim.HasField("dim_value") else fixed.get(dim.dim_param)
                             for dim in value.type.tensor_type.shape.dim]  # fmt: skip
    found = {}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in known:
            limits = {attribute.name: attribute.i for attribute in node.attribute}
            sizes = known[node.input[0]][limits.get("start", 0) : limits.get("end")]
            if None not in sizes:
                found[node.output[0]] = np.array(sizes, np.int64)
    return found


def _constant(graph: GraphProto, numbers: Mapping, parameters: Mapping) -> tuple[list[NodeProto], list[NodeProto]]:
    """Nodes that read nothing but constants, and the others."""
    known, still, rest = {*numbers, *parameters, ""}, [], []
    for node in graph.node:
        if node.output[0] in numbers:
            continue
        if known.issuperset(node.input):
            known.update(node.output)
            still.append(node)
        else:
            rest.append(node)
    return still, rest


def _views(still: list[NodeProto], parameters: Mapping[str, TensorProto]) -> dict[str, str]:
    """Value -> initializer, for every value that is a parameter, if need be in another float type."""
    views = {name: name for name in parameters}
    for node in still:
        if node.op_type == "Cast" and node.input[0] in views:
            views[node.output[0]] = views[node.input[0]]
    return views


def _dependent(still: list[NodeProto], parameters: Mapping[str, TensorProto]) -> set[str]:
    """Values that some parameter decides."""
    found = set(parameters)
    for node in still:
        if found.intersection(node.input):
            found.update(node.output)
    return found


def _sizes(model: ModelProto, still: list[NodeProto], numbers: Mapping, dependent: set[str]) -> dict[str, np.ndarray]:
    """Sizes and lists of sizes that no weight decides, evaluated, so that shapes of results can be told from them."""
    kinds = {value.name: value.type.tensor_type for value in shape_inference.infer_shapes(model).graph.value_info}

    def small(tensor: TypeProto.Tensor) -> bool:
        dims = [dim.dim_value for dim in tensor.shape.dim]
        return tensor.elem_type == TensorProto.INT64 and len(dims) <= 1 and all(0 < dim <= 8 for dim in dims)

    made = [name for node in still for name in node.output]
    names = [name for name in made if name not in dependent and name in kinds and small(kinds[name])]
    return _evaluate(_subgraph(model, still, names, numbers, {}), names, {}) if names else {}


def _subgraph(
    model: ModelProto, still: list[NodeProto], wanted: list[str], numbers: Mapping[str, np.ndarray],
    parameters: Mapping[str, TensorProto],
) -> ModelProto:  # fmt: skip
    """The nodes that make `wanted`. A parameter is an input in float32, by the name of its checkpoint tensor."""
    need, nodes = set(wanted), []
    for node in reversed(still):
        if need.intersection(node.output):
            need.update(node.input)
            nodes.append(node)
    used = [parameters[name] for name in parameters if name in need]
    owners = {tensor.name.partition("|")[0]: tensor for tensor in used if "|" not in tensor.name}
    inputs = [helper.make_tensor_value_info(tensor.name.partition("|")[0], TensorProto.FLOAT,
                                            None if tensor.name.partition("|")[0] not in owners
                                            else owners[tensor.name.partition("|")[0]].dims)
              for tensor in _first_views(used)]  # fmt: skip
    made, names = [], {}
    for tensor in used:
        owner = tensor.name.partition("|")[0]
        if tensor.name != owner:  # the same values in another shape
            made.append(helper.make_node("Reshape", [owner, f"{tensor.name}/dims"], [tensor.name]))
            names[f"{tensor.name}/dims"] = np.array(tensor.dims, np.int64)
    for node in nodes[::-1]:
        copy = NodeProto()
        copy.CopyFrom(node)
        made.append(copy)
    kept = [numpy_helper.from_array(array, name) for name, array in {**numbers, **names}.items()
            if name in need or name in names]  # fmt: skip
    graph = helper.make_graph(made, "constants", inputs, [helper.make_empty_tensor_value_info(n) for n in wanted], kept)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return shape_inference.infer_shapes(made, data_prop=True)


def _first_views(used: list[TensorProto]) -> list[TensorProto]:
    """One initializer for each parameter."""
    return list({tensor.name.partition("|")[0]: tensor for tensor in reversed(used)}.values())


def _shape(value: object) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _evaluate(model: ModelProto, names: list[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    return dict(zip(names, ReferenceEvaluator(model).run(names, inputs), strict=True))
