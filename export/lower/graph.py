"""Builds one ONNX graph: nodes, constants without duplicates, parameters, and sizes that are only known at run time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import sympy
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ..errors import LoweringError
from ..store import VIEW

Dim = int | sympy.Expr
"""A size: a number, or an expression over the symbols of the inputs' free axes."""

Axes = Sequence[int | str]
"""Axes of an input or output: a fixed size, or the name of a free one."""

_ARITHMETIC = {
    "Add": "Add",
    "Mul": "Mul",
    "FloorDiv": "Div",
    "CleanDiv": "Div",
    "Max": "Max",
    "Min": "Min",
    "Mod": "Mod",
}


class GraphBuilder:
    """Collects what a graph holds.

    stored  name of a parameter -> its ONNX type as stored; a type other than float32 gets a Cast, which a runtime folds
    """

    def __init__(self, stored: Callable[[str], int]):
        self.nodes: list[NodeProto] = []
        self.parameters: dict[str, TensorProto] = {}
        self.constants: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self.scope = ""
        self._stored = stored
        self._memo: dict[object, str] = {}
        self._count = 0
        self._symbols: dict[sympy.Symbol, tuple[str, int]] = {}
        self._labels: dict[sympy.Symbol, str] = {}
        self._results: dict[str, str] = {}
        self._views: dict[str, str] = {}  # value -> the parameter that it is
        self._ordered: dict[str, tuple[str, Sequence[int]]] = {}  # transposed value -> what it was made from, and how
        self._unshaped: dict[str, tuple[str, tuple[Dim, ...]]] = {}  # reshaped value -> what it was made from

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: object) -> str:
        """Append a node; the name of its output, or of the first of several (the others: `others`)."""
        names = [self._fresh(kind) for _ in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, name=f"{self.scope}/{names[0]}", domain=domain, **attributes)
        self.nodes.append(node)
        return names[0]

    def others(self) -> list[str]:
        """All outputs of the node that was added last."""
        return list(self.nodes[-1].output)

    def once(self, key: tuple, make: Callable[[], str]) -> str:
        """What `make` gave when `key` was asked for first."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def constant(self, values: object, dtype: type | np.dtype) -> str:
        """Name of an initializer of this graph with these values."""
        array = np.asarray(values, dtype)

        def make() -> str:
            name = self._fresh("const")
            self.constants.append(numpy_helper.from_array(array, name))
            return name

        return self.once(("const", array.dtype.str, array.shape, array.tobytes()), make)

    def ints(self, *values: int) -> str:
        """A list of whole numbers, as axes or sizes are given."""
        return self.constant(values, np.int64)

    def parameter(self, name: str, shape: Sequence[int]) -> str:
        """A float32 view of a parameter of the checkpoint. A further shape is another view of the same bytes."""

        def make() -> str:
            stored = self._stored(name)
            view = name if name not in self.parameters else f"{name}{VIEW}{'x'.join(map(str, shape))}"
            self.parameters[view] = TensorProto(name=view, data_type=stored, dims=shape)
            value = view if stored == TensorProto.FLOAT else self.op("Cast", view, to=TensorProto.FLOAT)
            self._views[value] = name
            return value

        shape = tuple(shape)
        return self.once(("parameter", name, shape), make)

    def input(self, name: str, kind: int, dims: Sequence[Dim], axes: Axes) -> str:
        """Add an input; the names of its free axes go to all sizes that follow from them."""
        for position, (dim, axis) in enumerate(zip(dims, axes, strict=True)):
            if not isinstance(dim, int):
                self._symbols.setdefault(dim, (name, position))
                self._labels.setdefault(dim, axis)
        self.inputs.append(helper.make_tensor_value_info(name, kind, axes))
        return name

    def output(self, name: str, value: str, kind: int, dims: Sequence[Dim], axes: Axes | None) -> None:
        """Make `value` the result `name`. Without `axes` a size that follows from several axes has no name."""
        if axes is None:
            axes = [dim if isinstance(dim, int) else self._labels.get(dim) for dim in dims]
        elif len(axes) != len(dims) or any(
            dim != axis if isinstance(axis, int) else isinstance(dim, int) for dim, axis in zip(dims, axes, strict=True)
        ):
            raise LoweringError(f"`{name}` comes out as {list(dims)}, its component promises {list(axes)}")
        self._results[name] = value
        self.outputs.append(helper.make_tensor_value_info(name, kind, axes))

    def size(self, dim: Dim) -> str:
        """A list of one whole number: the size `dim`."""
        if isinstance(dim, int) or dim.is_Integer:
            return self.ints(int(dim))
        return self.once(("size", dim), lambda: self._size(dim))

    def scalar(self, dim: Dim) -> str:
        """A whole number without axes: the size `dim`."""
        if isinstance(dim, int) or dim.is_Integer:
            return self.constant(int(dim), np.int64)
        return self.once(("scalar", dim), lambda: self.op("Squeeze", self.size(dim)))

    def shape(self, dims: Sequence[Dim]) -> str:
        """A list of sizes."""
        dims = tuple(dims)
        if all(isinstance(dim, int) for dim in dims):
            return self.ints(*dims)
        return self.once(("shape", dims), lambda: self.op("Concat", *map(self.size, dims), axis=0))

    def reshape(self, value: str, have: Sequence[Dim], want: Sequence[Dim]) -> str:
        """`value` of shape `have` as shape `want`. Reshapes in a row become one, or none."""
        want = tuple(want)
        value, have = self._unshaped.get(value, (value, tuple(have)))
        if have == want:
            return value
        made = self.once(("reshape", value, want), lambda: self._reshape(value, have, want))
        self._unshaped[made] = value, have
        return made

    def transpose(self, value: str, order: Sequence[int]) -> str:
        """`value` with its axes in another order. Two in a row become one, or none."""
        before, order = self._ordered.get(value, (value, range(len(order)))), list(order)
        source, combined = before[0], [before[1][axis] for axis in order]
        if combined == sorted(combined):
            return source
        made = self.once(("transpose", source, *combined), lambda: self.op("Transpose", source, perm=combined))
        self._ordered[made] = source, combined
        return made

    def _reshape(self, value: str, have: tuple[Dim, ...], want: tuple[Dim, ...]) -> str:
        """A size that the runtime can tell by itself, because it stays or is what is left, is not computed."""
        if value in self._views:
            return self.parameter(self._views[value], want)
        kept = [
            0 if i < len(have) and dim == have[i] and not isinstance(dim, int) else dim for i, dim in enumerate(want)
        ]
        free = [i for i, dim in enumerate(kept) if not isinstance(dim, int)]
        if free:
            kept[free[-1]] = -1
        return self.op("Reshape", value, self.shape(kept))

    def finish(self) -> None:
        """Give the results their names, and drop every node that none of them needs."""
        self.scope, named = "", {}
        made = {name for node in self.nodes for name in node.output}
        for name, value in self._results.items():
            if value in made and value not in named:
                named[value] = name
            else:
                self.nodes.append(helper.make_node("Identity", [value], [name], name=f"/{name}"))
        live, wanted = [], set(self._results)
        for node in reversed(self.nodes):
            for names in (node.input, node.output):
                names[:] = [named.get(name, name) for name in names]
            if wanted.intersection(node.output):
                wanted.update(node.input)
                live.append(node)
        self.nodes = live[::-1]

    def initializers(self) -> list[TensorProto]:
        """Parameters and constants that a node reads."""
        read = {name for node in self.nodes for name in node.input}
        return [tensor for tensor in (*self.parameters.values(), *self.constants) if tensor.name in read]

    def _size(self, dim: sympy.Expr) -> str:
        if dim.is_Symbol:
            if dim not in self._symbols:
                raise LoweringError(f"the size {dim} is not the size of any axis of an input")
            value, axis = self._symbols[dim]
            return self.op("Shape", value, start=axis, end=axis + 1)
        kind = _ARITHMETIC.get(type(dim).__name__)
        if kind is None:
            raise LoweringError(f"the size {dim} uses {type(dim).__name__}, which has no lowering")
        terms = [self.size(term) for term in dim.args]
        total = terms[0]
        for term in terms[1:]:
            total = self.op(kind, total, term)
        return total

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"


def elements(shape: Sequence[Dim]) -> Dim:
    return math.prod(shape)
