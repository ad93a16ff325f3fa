"""The middle of GLUMBConv: SiLU, depthwise 3x3, value * SiLU(gate), in one pass, token-major (spec 4.5)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _silu(x):
    return x / (1.0 + tl.exp(-x))


@triton.jit
def glumbconv_core(
    x, weight, bias, out, rows, columns,
    HIDDEN: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One program a block of pixels and channels; pixels outside the picture count as zero.

    x       [batch, rows * columns, 2 * HIDDEN], before SiLU; the first HIDDEN channels are values, the others gates
    weight  [9, 2 * HIDDEN], tap (dy + 1) * 3 + dx + 1; bias [2 * HIDDEN]
    out     [batch, rows * columns, HIDDEN]
    """
    tokens = rows * columns
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    batch = tl.program_id(2)
    inside = c < HIDDEN
    row, column = t // columns, t % columns
    x += batch.to(tl.int64) * tokens * 2 * HIDDEN
    value = tl.zeros((BLOCK_T, BLOCK_C), tl.float32) + tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    gate = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    gate += tl.load(bias + HIDDEN + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(9):
        dy, dx = tap // 3 - 1, tap % 3 - 1
        there = (row + dy >= 0) & (row + dy < rows) & (column + dx >= 0) & (column + dx < columns) & (t < tokens)
        live = there[:, None] & inside[None, :]
        place = (t + dy * columns + dx)[:, None] * (2 * HIDDEN) + c[None, :]
        own = tl.load(weight + tap * 2 * HIDDEN + c, mask=inside, other=0.0).to(tl.float32)
        value += _silu(tl.load(x + place, mask=live, other=0.0).to(tl.float32)) * own[None, :]
        own = tl.load(weight + tap * 2 * HIDDEN + HIDDEN + c, mask=inside, other=0.0).to(tl.float32)
        gate += _silu(tl.load(x + HIDDEN + place, mask=live, other=0.0).to(tl.float32)) * own[None, :]
    out += batch.to(tl.int64) * tokens * HIDDEN
    target = out + t[:, None] * HIDDEN + c[None, :]
    live = (t < tokens)[:, None] & inside[None, :]
    tl.store(target, (value * _silu(gate)).to(out.dtype.element_ty), mask=live)
