"""The typed-graph pass: decides the type of every float value and writes the casts into the graph.

A strongly typed network computes what its graph says, so this is the one place that knows about precision:

    narrow  products (Gemm, Conv, MatMul) and the operators of domain `spar`, which keep their sums in float32 inside
    wide    norms, softmax, sums, exponentials, roots, angles: their inputs are cast to float32
    free    the rest: narrow when all of its inputs are, except where only wide operators read the result

In float16, sums of two streams (residuals) are wide too: language models are known to leave its range there.
A MatMul by a constant that is no weight is a mean, hence wide. Inputs and outputs of the component stay float32, but
for what only travels from one call to the next, which is kept narrow.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from spar_engine.errors import BackendError
from spar_engine.weights.dtypes import to_bf16

from ..functions import DOMAIN
from .split import Parts

F32 = TensorProto.FLOAT
NARROW = {"bf16": TensorProto.BFLOAT16, "fp16": TensorProto.FLOAT16, "fp32": F32, "fp8": TensorProto.BFLOAT16}
"""Precision -> the type of narrow values; with fp8 the products of the DiT get narrower still (`fp8`)."""

PRODUCTS = frozenset(("Gemm", "Conv", "MatMul"))
WIDE = frozenset(("LayerNormalization", "Softmax", "ReduceMean", "ReduceSum", "Pow", "Exp", "Cos", "Sin", "Sqrt",
                  "Reciprocal", "Div", "Resize"))  # fmt: skip
ELEMENTS = frozenset(("Add", "Sub", "Mul", "Where", "Relu", "Sigmoid", "Gelu", "Max", "Min"))
MOVES = frozenset(("Reshape", "Transpose", "Gather", "Slice", "Split", "Expand", "Tile", "Squeeze", "Unsqueeze",
                   "DepthToSpace", "Concat", "Pad"))  # fmt: skip
KNOWN = PRODUCTS | WIDE | ELEMENTS | MOVES
"""Operators on floats that the pass has a rule for."""

_COMPARE = frozenset(("Less", "LessOrEqual", "Equal", "Not", "And"))
_WHOLE = {"Shape": TensorProto.INT64, **dict.fromkeys(_COMPARE, TensorProto.BOOL)}
_DATA = {"Where": (1, 2), "Gather": (0,), "Reshape": (0,), "Slice": (0,), "Split": (0,), "Expand": (0,), "Tile": (0,),
         "Squeeze": (0,), "Unsqueeze": (0,), "Pad": (0, 2), "Resize": (0,), "ReduceMean": (0,),
         "ReduceSum": (0,)}  # fmt: skip
"""Inputs of an operator that hold data; the others are indices and sizes. Not listed: all of them."""

WIDER = "|f32"
"""Behind the name of a weight that a plan reads in float32 beside, or instead of, its narrow form."""


def typed(
    model: ModelProto, parts: Parts, precision: str, stays: Collection[str], exact: Collection[str]
) -> ModelProto:
    """The graph of a component with every type decided; weights are initializers without data.

    model      the traced model that `parts` was cut from
    precision  a key of NARROW
    stays      inputs and outputs that only travel from one call to the next
    exact      inputs that may not be rounded
    errors     BackendError for an operator on floats without a rule
    """
    return _Typing(model, parts, NARROW[precision], precision == "fp16", frozenset(stays), frozenset(exact)).run()


class _Typing:
    def __init__(self, model: ModelProto, parts: Parts, narrow: int, wide_sums: bool, stays: frozenset[str],
                 exact: frozenset[str]):  # fmt: skip
        self.model, self.parts, self.narrow, self.wide_sums, self.stays = model, parts, narrow, wide_sums, stays
        self.planned: dict[str, int] = {}  # value -> type that readers should count on
        self.kind: dict[str, int] = {}  # value -> type that it has
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.casts: dict[tuple[str, int], str] = {}
        self.static = parts.weights.keys() | parts.derived.keys() | parts.plain.keys()
        self.readers: dict[str, list[NodeProto]] = {}
        for node in parts.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        for value in model.graph.input:
            kind, name = value.type.tensor_type.elem_type, value.name
            self.planned[name] = narrow if kind == F32 and name not in exact else kind
            self.kind[name] = narrow if kind == F32 and name in stays else kind

    def run(self) -> ModelProto:
        wanted = self._decide()
        for node in self.parts.nodes:
            self._place(node, wanted.get(node.output[0]))
        outputs = [self._result(value) for value in self.model.graph.output]
        inputs = [self._seam(value) for value in self.model.graph.input]
        made = helper.make_graph(self.nodes, self.model.graph.name, inputs, outputs, self.initializers.values())
        return helper.make_model(made, functions=self.model.functions, opset_imports=self.model.opset_import,
                                 ir_version=self.model.ir_version, producer_name="spar-export")  # fmt: skip

    # Deciding

    def _float(self, name: str) -> bool:
        if name in self.static:
            return name not in self.parts.plain or self.parts.plain[name].dtype.kind == "f"
        return self.planned[name] in (F32, self.narrow)

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs of a node that hold data."""
        places = _DATA.get(node.op_type)
        given = node.input if places is None else [node.input[i] for i in places if i < len(node.input)]
        return [name for name in given if name]

    def _decide(self) -> dict[str, int]:
        """First output of each node on floats -> the type it computes in."""
        found: dict[str, int] = {}
        for node in self.parts.nodes:
            kind = self._forward(node)
            if kind is not None:
                found[node.output[0]] = kind
            self.planned.update(dict.fromkeys(node.output, self._whole(node) if kind is None else kind))
        results = {value.name for value in self.model.graph.output}
        for node in reversed(self.parts.nodes):  # only wide operators read it: no need to round it first
            first = node.output[0]
            if found.get(first) == self.narrow and node.op_type in ELEMENTS | MOVES and not results & set(node.output):
                readers = [reader for name in node.output for reader in self.readers.get(name, ())]
                if readers and all(found.get(reader.output[0]) == F32 for reader in readers):
                    found[first] = F32
        return found

    def _forward(self, node: NodeProto) -> int | None:
        """Type from the inputs alone; None: the node is about whole numbers or truth values."""
        kind, data = node.op_type, self._data(node)
        if kind == "Cast":
            return F32 if helper.get_node_attr_value(node, "to") == F32 else None
        if kind in _WHOLE or not any(self._float(name) for name in data):
            return None
        if node.domain == DOMAIN:
            return self.narrow
        if kind not in KNOWN or node.domain:
            raise BackendError(
                f"{self.model.graph.name}: node {node.name!r} ({kind}) has no rule in the typed-graph pass; "
                "add the operator to WIDE, ELEMENTS or MOVES of export/tensorrt/typed.py"
            )
        moving = [name for name in data if name not in self.static]
        if kind in PRODUCTS:
            mean = kind == "MatMul" and any(name in self.parts.plain for name in data)
            return F32 if mean else self.narrow
        if kind in WIDE or not moving or (self.wide_sums and kind == "Add" and len(moving) == 2):
            return F32
        kinds = {self.planned[name] for name in moving}
        if len(kinds) == 1:
            return kinds.pop()
        return self.narrow if kind == "Concat" else F32

    def _whole(self, node: NodeProto) -> int:
        """Type of a result that is no float."""
        if node.op_type in _WHOLE:
            return _WHOLE[node.op_type]
        if node.op_type == "Cast":
            return helper.get_node_attr_value(node, "to")
        name = self._data(node)[0]
        plain = self.parts.plain.get(name)
        return self.planned[name] if plain is None else helper.np_dtype_to_tensor_dtype(plain.dtype)

    # Writing

    def _seam(self, value: ValueInfoProto) -> ValueInfoProto:
        """An input or output as the plan has it."""
        made = ValueInfoProto()
        made.CopyFrom(value)
        tensor = made.type.tensor_type
        if tensor.elem_type == F32 and value.name in self.stays:
            tensor.elem_type = self.narrow
        for dim in tensor.shape.dim:
            if dim.dim_param in self.parts.sizes:
                dim.dim_value = self.parts.sizes[dim.dim_param]
        return made

    def _place(self, node: NodeProto, kind: int | None) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        data = () if kind is None or node.op_type == "Cast" else self._data(node)
        for i, name in enumerate(node.input):
            if name:
                copy.input[i] = self._as(name, kind if name in data and self._float(name) else None)
        self.nodes.append(copy)
        after = {name: self.planned[name] if kind is None else kind for name in node.output}
        self.kind |= after
        self.planned |= after

    def _as(self, name: str, kind: int | None) -> str:
        """The value `name` as float type `kind`; None: as it is."""
        if name in self.static:
            return self._constant(name, kind)
        if kind in (None, self.kind[name]):
            return name
        if (name, kind) not in self.casts:
            made = f"{name}/{TensorProto.DataType.Name(kind).lower()}"
            self.nodes.append(helper.make_node("Cast", [name], [made], name=f"cast/{made}", to=kind))
            self.casts[name, kind] = made
        return self.casts[name, kind]

    def _constant(self, name: str, kind: int | None) -> str:
        """An initializer for a constant, floats as type `kind`; None: as they are."""
        base, shape = self.parts.weights.get(name, (name, self.parts.derived.get(name)))
        kind = F32 if kind is None and self._float(name) else kind
        wide = kind == F32 != self.narrow
        made = f"{base}{WIDER}" if wide and name not in self.parts.plain else f"{base}/wide" if wide else base
        if made not in self.initializers:
            plain = self.parts.plain.get(name)
            self.initializers[made] = (as_tensor(plain, made, kind) if plain is not None
                                       else TensorProto(name=made, data_type=kind or F32, dims=shape))  # fmt: skip
        return made

    def _result(self, value: ValueInfoProto) -> ValueInfoProto:
        seam = self._seam(value)
        want, inner = seam.type.tensor_type.elem_type, f"{value.name}/inner"
        if self.kind[value.name] != want:
            for names in (names for node in self.nodes for names in (node.input, node.output)):
                for i, name in enumerate(names):
                    if name == value.name:
                        names[i] = inner
            self.nodes.append(helper.make_node("Cast", [inner], [value.name], name=f"cast/{value.name}", to=want))
        return seam


def as_tensor(array: np.ndarray, name: str, kind: int | None) -> TensorProto:
    """`array` as an initializer; floats as type `kind`."""
    if array.dtype.kind != "f" or kind is None:
        return numpy_helper.from_array(np.asarray(array), name)
    if kind == TensorProto.BFLOAT16:
        bits = to_bf16(np.asarray(array, np.float32))
        return TensorProto(name=name, data_type=kind, dims=array.shape, raw_data=bits.tobytes())
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(kind)), name)
