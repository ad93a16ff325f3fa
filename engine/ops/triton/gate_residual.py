"""Residual plus gated branch, and with it the LayerNorm and modulation that come next (spec 4.5)."""

from __future__ import annotations

import triton
import triton.language as tl

from .quantize_rows import store_e4m3


@triton.jit
def gate_residual(
    x, y, gate, out, shift, scale, normed, normed_scales, tokens, gate_stride, shift_stride,
    WIDTH: tl.constexpr, BLOCK_W: tl.constexpr, EPS: tl.constexpr, GATED: tl.constexpr, NORMED: tl.constexpr,
    EIGHT: tl.constexpr,
):  # fmt: skip
    """One program a token: out = x + gate * y; with NORMED also normed = norm(out) * (1 + scale) + shift.

    x, y, out, normed   [batch * tokens, WIDTH]; `out` may be `x`
    gate, shift, scale  [batch, WIDTH], rows gate_stride and shift_stride apart; 0 where all share one
    normed_scales       [batch * tokens]; with EIGHT `normed` is e4m3 with these scales
    The norm sees `out` as it is stored. What GATED or NORMED leave out is not read.
    """
    row = tl.program_id(0)
    c = tl.arange(0, BLOCK_W)
    live = c < WIDTH
    place = row.to(tl.int64) * WIDTH + c
    added = tl.load(y + place, mask=live, other=0.0).to(tl.float32)
    if GATED:
        added *= tl.load(gate + (row // tokens) * gate_stride + c, mask=live, other=0.0).to(tl.float32)
    sums = tl.load(x + place, mask=live, other=0.0).to(tl.float32) + added
    stored = sums.to(out.dtype.element_ty)
    tl.store(out + place, stored, mask=live)
    if NORMED:
        sums = stored.to(tl.float32)
        centred = tl.where(live, sums - tl.sum(sums, 0) / WIDTH, 0.0)
        normal = centred / tl.sqrt(tl.sum(centred * centred, 0) / WIDTH + EPS)
        own = (row // tokens) * shift_stride + c
        factor = 1.0 + tl.load(scale + own, mask=live, other=0.0).to(tl.float32)
        offset = tl.load(shift + own, mask=live, other=0.0).to(tl.float32)
        if EIGHT:
            store_e4m3(normed + place, normed_scales + row, normal * factor + offset, live)
        else:
            tl.store(normed + place, (normal * factor + offset).to(normed.dtype.element_ty), mask=live)


@triton.jit
def project_gate_residual(
    y, weight, bias, gate, x, out, tokens, rows, gate_stride,
    INNER: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out = x + gate * (y weight^T + bias): the way out of a branch and its residual in one product.

    y       [rows, INNER], rows = batch * tokens; weight [WIDTH, INNER], bias [WIDTH]
    x, out  [rows, WIDTH]; gate [batch, WIDTH], rows gate_stride apart
    """
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    made = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for start in range(0, INNER, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        given = tl.load(
            y + t.to(tl.int64)[:, None] * INNER + k[None, :], mask=(t < rows)[:, None] & (k < INNER)[None, :], other=0.0
        )
        w = tl.load(
            weight + n[:, None] * INNER + k[None, :], mask=(n < WIDTH)[:, None] & (k < INNER)[None, :], other=0.0
        )
        if WIDE:
            made = tl.dot(given.to(tl.float32), tl.trans(w.to(tl.float32)), made, input_precision="ieee")
        else:
            made = tl.dot(given, tl.trans(w), made)
    made += tl.load(bias + n, mask=n < WIDTH, other=0.0).to(tl.float32)[None, :]
    live = (t < rows)[:, None] & (n < WIDTH)[None, :]
    factor = tl.load(gate + (t // tokens)[:, None] * gate_stride + n[None, :], mask=live, other=0.0).to(tl.float32)
    place = t.to(tl.int64)[:, None] * WIDTH + n[None, :]
    kept = tl.load(x + place, mask=live, other=0.0).to(tl.float32)
    tl.store(out + place, (kept + factor * made).to(out.dtype.element_ty), mask=live)
