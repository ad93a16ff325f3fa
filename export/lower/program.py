"""Walks a traced program and lowers its operators one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from ..errors import LoweringError
from .graph import Axes, Dim, GraphBuilder

ONNX_TYPE = {
    torch.float64: onnx.TensorProto.DOUBLE,
    torch.float32: onnx.TensorProto.FLOAT,
    torch.int64: onnx.TensorProto.INT64,
    torch.int32: onnx.TensorProto.INT32,
    torch.bool: onnx.TensorProto.BOOL,
}

Lowering = Callable[["Lowered", torch.fx.Node], Any]
LOWERINGS: dict[Any, Lowering] = {}
"""Target of an operator -> the function that lowers a call of it."""


def lowers(*targets: Any) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for these operators."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(targets, function))
        return function

    return register


class Lowered:
    """The graph so far, and what each node of the program has become: a value's name, a list of names, or a size."""

    def __init__(self, graph: GraphBuilder):
        self.graph = graph
        self.values: dict[torch.fx.Node, Any] = {}

    def value(self, argument: torch.fx.Node) -> Any:
        return self.values[argument]

    def dim(self, argument: Any) -> Dim:
        """A size given to an operator, as a number or an expression."""
        return dim_of(argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument)

    def typed(self, argument: Any, dtype: torch.dtype) -> str:
        """A tensor or number given to an operator, as a value of type `dtype`."""
        if not isinstance(argument, torch.fx.Node):
            return self.graph.constant(argument, torch.empty((), dtype=dtype).numpy().dtype)
        meta = argument.meta["val"]
        if not isinstance(meta, torch.Tensor):  # a size, or a number made from one
            value = self.graph.scalar(dim_of(meta)) if isinstance(meta, torch.SymInt) else self.values[argument]
            have = torch.int64 if isinstance(meta, torch.SymInt) else torch.float32
        else:
            value, have = self.values[argument], meta.dtype
        return value if have == dtype else self.graph.op("Cast", value, to=ONNX_TYPE[dtype])


def dim_of(size: Any) -> Dim:
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        return int(expression) if expression.is_Integer else expression
    return int(size)


def dims(value: torch.Tensor | torch.fx.Node) -> tuple[Dim, ...]:
    """Shape of a tensor, or of the tensor that a node gives."""
    tensor = value.meta["val"] if isinstance(value, torch.fx.Node) else value
    return tuple(map(dim_of, tensor.shape))


def argument(node: torch.fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument that may be given by position, by name, or not at all."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def lower_program(
    program: ExportedProgram, graph: GraphBuilder, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes | None]
) -> None:
    """Fill `graph` with the operators of `program`.

    inputs   name -> axes of the program's inputs, in order; a free axis has a name
    outputs  the same of its results; without axes they follow from the trace
    errors   LoweringError for an operator without a lowering, and for tensors that are not parameters
    """
    from . import arithmetic, layers, shapes  # noqa: F401  (they register their lowerings)

    state = Lowered(graph)
    given = iter(inputs.items())
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    results: tuple[torch.fx.Node, ...] = ()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            state.values[node] = _placeholder(graph, node, kinds[node.name], given)
        elif node.op == "call_function":
            _call(state, node)
        elif node.op == "output":
            results = node.args[0]
        else:
            raise LoweringError(f"node {node.name} of kind {node.op!r} has no lowering")
    for (name, axes), node in zip(outputs.items(), results, strict=True):
        graph.output(name, state.values[node], ONNX_TYPE[node.meta["val"].dtype], dims(node), axes)
    graph.finish()


def _placeholder(graph: GraphBuilder, node: torch.fx.Node, spec: Any, given: Iterator[tuple[str, Axes]]) -> str | None:
    if spec.kind == InputKind.PARAMETER:
        return graph.parameter(spec.target, dims(node)) if node.users else None
    if spec.kind != InputKind.USER_INPUT:
        raise LoweringError(
            f"{spec.target or node.name} is a {spec.kind.name.lower()}; a component has parameters only"
        )
    name, axes = next(given)
    return graph.input(name, ONNX_TYPE[node.meta["val"].dtype], dims(node), axes)


def _call(state: Lowered, node: torch.fx.Node) -> None:
    if node.target not in LOWERINGS:
        raise LoweringError(
            f"operator {node.target} (in {_scope(node) or 'the component'}) has no lowering; add one in export/lower"
        )
    state.graph.scope = _scope(node)
    if node.users:
        state.values[node] = LOWERINGS[node.target](state, node)


def _scope(node: torch.fx.Node) -> str:
    """Path of the module that called the operator."""
    stack = node.meta.get("nn_module_stack")
    return next(reversed(stack.values()))[0] if stack else ""
