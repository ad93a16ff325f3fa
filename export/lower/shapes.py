"""Operators that move, join or pick elements."""

from __future__ import annotations

import operator
from typing import Any

import torch

from ..errors import LoweringError
from .program import Lowered, argument, dims, lowers

aten = torch.ops.aten
_END = 2**63 - 1  # what a slice without an end is given


@lowers(
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.dim,
)
def reshape(state: Lowered, node: torch.fx.Node) -> str:
    source = node.args[0]
    return state.graph.reshape(state.value(source), dims(source), dims(node))


@lowers(aten.expand.default)
def expand(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.op("Expand", state.value(node.args[0]), state.graph.shape(dims(node)))


@lowers(aten.repeat.default)
def repeat(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.op("Tile", state.value(node.args[0]), state.graph.shape(map(state.dim, node.args[1])))


@lowers(aten.permute.default)
def permute(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.transpose(state.value(node.args[0]), [axis % len(dims(node)) for axis in node.args[1]])


@lowers(aten.transpose.int, aten.t.default)
def transpose(state: Lowered, node: torch.fx.Node) -> str:
    rank = len(dims(node))
    first, second = node.args[1:] or (0, 1)
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return state.graph.transpose(state.value(node.args[0]), order)


@lowers(aten.movedim.int)
def movedim(state: Lowered, node: torch.fx.Node) -> str:
    source, start, end = node.args
    rank = len(dims(node))
    order = [axis for axis in range(rank) if axis != start % rank]
    order.insert(end % rank, start % rank)
    return state.graph.transpose(state.value(source), order)


@lowers(aten.cat.default)
def cat(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.op("Concat", *map(state.value, node.args[0]), axis=argument(node, 1, "dim", 0))


@lowers(aten.stack.default)
def stack(state: Lowered, node: torch.fx.Node) -> str:
    axis = argument(node, 1, "dim", 0)
    shape = list(dims(node))
    shape[axis] = 1
    parts = [state.graph.reshape(state.value(part), dims(part), shape) for part in node.args[0]]
    return parts[0] if len(parts) == 1 else state.graph.op("Concat", *parts, axis=axis)


@lowers(aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default)
def split(state: Lowered, node: torch.fx.Node) -> list[str]:
    axis = argument(node, 2, "dim", 0)
    sizes = [dims(part)[axis] for part in node.meta["val"]]
    first = state.graph.op("Split", state.value(node.args[0]), state.graph.shape(sizes), axis=axis, outputs=len(sizes))
    names = state.graph.others()
    assert names[0] == first
    return names


@lowers(aten.unbind.int)
def unbind(state: Lowered, node: torch.fx.Node) -> list[str | None]:
    """One Gather for every part that is used."""
    axis, value = argument(node, 1, "dim", 0), state.value(node.args[0])
    used = {user.args[1] for user in node.users}
    return [_pick(state, value, index, axis) if index in used else None for index in range(len(node.meta["val"]))]


@lowers(operator.getitem)
def getitem(state: Lowered, node: torch.fx.Node) -> Any:
    return state.value(node.args[0])[node.args[1]]


@lowers(aten.select.int)
def select(state: Lowered, node: torch.fx.Node) -> str:
    source, axis, index = node.args
    return _pick(state, state.value(source), index, axis)


def _pick(state: Lowered, value: str, index: int, axis: int) -> str:
    return state.graph.op("Gather", value, state.graph.constant(index, "int64"), axis=axis)


@lowers(aten.slice.Tensor)
def slice_(state: Lowered, node: torch.fx.Node) -> str:
    source = node.args[0]
    axis, start, end = (argument(node, i, name) for i, name in ((1, "dim"), (2, "start"), (3, "end")))
    begin, stop = state.dim(start or 0), state.dim(_END if end is None else end)
    if begin == 0 and stop == _END:
        return state.value(source)
    graph = state.graph
    return graph.op("Slice", state.value(source), graph.size(begin), graph.size(stop), graph.ints(axis or 0))


@lowers(aten.index.Tensor)
def index(state: Lowered, node: torch.fx.Node) -> str:
    """Rows picked along one axis."""
    source, picks = node.args
    given = [axis for axis, pick in enumerate(picks) if pick is not None]
    if len(given) != 1 or len(dims(picks[given[0]])) != 1:
        raise LoweringError(f"{node.name}: only one list of indices can be lowered, along one axis")
    return state.graph.op("Gather", state.value(source), state.value(picks[given[0]]), axis=given[0])


@lowers(aten.index_select.default)
def index_select(state: Lowered, node: torch.fx.Node) -> str:
    source, axis, picks = node.args
    return state.graph.op("Gather", state.value(source), state.value(picks), axis=axis)


@lowers(aten.pad.default)
def pad(state: Lowered, node: torch.fx.Node) -> str:
    mode, fill = argument(node, 2, "mode", "constant"), argument(node, 3, "value") or 0.0
    if mode != "constant":
        raise LoweringError(f"{node.name}: padding of mode {mode!r} has no lowering")
    amounts = node.args[1]  # two for each axis, the last axis first
    pairs = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)][::-1]
    missing = [(0, 0)] * (len(dims(node)) - len(pairs))
    before, after = zip(*missing, *pairs, strict=True)
    graph = state.graph
    number = graph.constant(fill, torch.empty((), dtype=node.meta["val"].dtype).numpy().dtype)
    return graph.op("Pad", state.value(node.args[0]), graph.ints(*before, *after), number)


@lowers(aten.pixel_shuffle.default)
def pixel_shuffle(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.op("DepthToSpace", state.value(node.args[0]), blocksize=node.args[1], mode="CRD")


@lowers(aten.upsample_bicubic2d.vec)
def bicubic(state: Lowered, node: torch.fx.Node) -> str:
    if argument(node, 2, "align_corners"):
        raise LoweringError(f"{node.name}: bicubic with aligned corners has no lowering")
    sizes = state.graph.shape(dims(node))
    return state.graph.op("Resize", state.value(node.args[0]), "", "", sizes, mode="cubic", cubic_coeff_a=-0.75,
                          coordinate_transformation_mode="half_pixel")  # fmt: skip
