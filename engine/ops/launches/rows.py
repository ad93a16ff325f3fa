"""Launches of what works along rows of the residual stream, of the feed-forward's core, and of routing."""

from __future__ import annotations

import math
from typing import Any

from ...errors import InputError
from .launch import Launch, Scratch, dense, divided, power_of_two, row_stride, tuning


def _modulation(op: str, shift: Any, scale: Any) -> int:
    """The one row distance of shift and scale."""
    found = row_stride(op, "shift", shift), row_stride(op, "scale", scale)
    if found[0] != found[1]:
        raise InputError(f"{op}: rows of `shift` are {found[0]} apart, those of `scale` {found[1]}; "
                         "they must be laid out alike")  # fmt: skip
    return found[0]


def layer_norm_modulate(
    x: Any, shift: Any, scale: Any, out: Any, out_scales: Any = None, *, eps: float = 1e-6, wide: bool = False,
    arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """x, out [batch, tokens, width]; shift, scale [batch, width]; with out_scales [batch, tokens] bytes of e4m3."""
    op = "layer_norm_modulate"
    dense(op, x=x, out=out, out_scales=out_scales)
    batch, tokens, width = x.shape
    if 0 in x.shape:
        return []
    stride = _modulation(op, shift, scale)
    return [Launch(
        op, op, (batch * tokens,), {"x": x, "shift": shift, "scale": scale, "out": out, "out_scales": out_scales},
        {"tokens": tokens, "shift_stride": stride},
        {"WIDTH": width, "BLOCK_W": power_of_two(width), "EPS": eps, "EIGHT": out_scales is not None},
        tuning(op, arch)["warps"], 1,
    )]  # fmt: skip


def quantize_rows(x: Any, values: Any, scales: Any, *, wide: bool = False, arch: int = 80) -> list[Launch]:
    """x, values (bytes) [..., width]; scales [...]."""
    op = "quantize_rows"
    dense(op, x=x, values=values, scales=scales)
    *outer, width = x.shape
    if 0 in x.shape:
        return []
    return [Launch(
        op, op, (math.prod(outer),), {"x": x, "values": values, "scales": scales}, {},
        {"WIDTH": width, "BLOCK_W": power_of_two(width)}, tuning(op, arch)["warps"], 1,
    )]  # fmt: skip


def gate_residual(
    x: Any, y: Any, out: Any, *, gate: Any = None, normed: Any = None, normed_scales: Any = None, shift: Any = None,
    scale: Any = None, eps: float = 1e-6, wide: bool = False, arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """x, y, out, normed [batch, tokens, width]; gate, shift, scale [batch, width]; with normed_scales [batch, tokens]
    `normed` is bytes of e4m3."""
    op = "gate_residual"
    dense(op, x=x, y=y, out=out, normed=normed, normed_scales=normed_scales)
    batch, tokens, width = x.shape
    if 0 in x.shape:
        return []
    gate_stride = 0 if gate is None else row_stride(op, "gate", gate)
    return [Launch(
        op, op, (batch * tokens,),
        {"x": x, "y": y, "gate": gate, "out": out, "shift": shift, "scale": scale, "normed": normed,
         "normed_scales": normed_scales},
        {"tokens": tokens, "gate_stride": gate_stride,
         "shift_stride": 0 if normed is None else _modulation(op, shift, scale)},
        {"WIDTH": width, "BLOCK_W": power_of_two(width), "EPS": eps, "GATED": gate is not None,
         "NORMED": normed is not None, "EIGHT": normed_scales is not None}, tuning(op, arch)["warps"], 1,
    )]  # fmt: skip


def project_gate_residual(
    y: Any, weight: Any, bias: Any, gate: Any, x: Any, out: Any, *, wide: bool, arch: int = 80
) -> list[Launch]:
    """y [batch, tokens, inner], weight [width, inner], gate [batch, width], x, out [batch, tokens, width]."""
    op = "gate_residual"
    dense(op, y=y, weight=weight, x=x, out=out)
    batch, tokens, width = x.shape
    if 0 in x.shape:
        return []
    chosen = tuning("project_gate_residual", arch)
    grid = (divided(batch * tokens, chosen["tokens"]), divided(width, chosen["columns"]))
    return [Launch(
        op, "project_gate_residual", grid,
        {"y": y, "weight": weight, "bias": bias, "gate": gate, "x": x, "out": out},
        {"tokens": tokens, "rows": batch * tokens, "gate_stride": row_stride(op, "gate", gate)},
        {"INNER": y.shape[2], "WIDTH": width, "BLOCK_T": chosen["tokens"], "BLOCK_N": chosen["columns"],
         "BLOCK_K": chosen["inner"], "WIDE": wide}, chosen["warps"], chosen["stages"],
    )]  # fmt: skip


def glumbconv_core(x: Any, weight: Any, bias: Any, out: Any, *, wide: bool = False, arch: int = 80) -> list[Launch]:
    """x [batch, rows, columns, 2 * hidden], out [batch, rows, columns, hidden]."""
    op = "glumbconv_core"
    dense(op, x=x, weight=weight, bias=bias, out=out)
    batch, rows, columns, hidden = out.shape
    if 0 in out.shape:
        return []
    chosen = tuning(op, arch)
    grid = (divided(rows * columns, chosen["tokens"]), divided(hidden, chosen["channels"]), batch)
    return [Launch(
        op, op, grid, {"x": x, "weight": weight, "bias": bias, "out": out}, {"rows": rows, "columns": columns},
        {"HIDDEN": hidden, "BLOCK_T": chosen["tokens"], "BLOCK_C": chosen["channels"]}, chosen["warps"], 1,
    )]  # fmt: skip


def dynamic_token_routing(
    levels: Any, w1: Any, b1: Any, w2: Any, b2: Any, scales: Any, norm_weight: Any, norm_bias: Any, proj_weight: Any,
    proj_bias: Any, weights: Any, routed: Any, *, temperature: float = 1.0, eps: float = 1e-5, scratch: Scratch,
    wide: bool, arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """levels [depth, tokens, width], weights (out) [tokens, depth] float32, routed (out) [tokens, width]."""
    op = "dynamic_token_routing"
    dense(op, last=levels[-1], w1=w1, w2=w2, proj_weight=proj_weight, weights=weights, routed=routed)
    depth, tokens, width = levels.shape
    if not tokens:
        return []
    chosen, hidden = tuning(op, arch), w1.shape[0]
    blocks = divided(hidden, chosen["hidden"])
    partial, normed = scratch((blocks, tokens, depth)), scratch((tokens, width))
    sizes = {"BLOCK_T": chosen["tokens"], "BLOCK_K": chosen["inner"], "WIDE": wide}
    token_blocks, warps = divided(tokens, chosen["tokens"]), chosen["warps"]
    return [
        Launch(op, "route_logits", (token_blocks, blocks),
               {"last": levels[-1], "w1": w1, "b1": b1, "w2": w2, "partial": partial}, {"tokens": tokens},
               {"WIDTH": width, "HIDDEN": hidden, "PICKS": depth, "BLOCK_H": chosen["hidden"]} | sizes, warps,
               chosen["stages"]),
        Launch(op, "route_mix", (tokens,),
               {"levels": levels, "partial": partial, "b2": b2, "scales": scales, "norm_weight": norm_weight,
                "norm_bias": norm_bias, "weights": weights, "normed": normed},
               {"tokens": tokens, "blocks": blocks, "level_stride": levels.stride()[0],
                "inverse_temperature": 1.0 / temperature},
               {"WIDTH": width, "PICKS": depth, "BLOCK_P": power_of_two(depth, 2), "BLOCK_W": power_of_two(width),
                "EPS": eps}, warps, 1),
        Launch(op, "route_project", (token_blocks, divided(width, chosen["columns"])),
               {"normed": normed, "weight": proj_weight, "bias": proj_bias, "out": routed}, {"tokens": tokens},
               {"WIDTH": width, "BLOCK_N": chosen["columns"]} | sizes, warps, chosen["stages"]),
    ]  # fmt: skip
