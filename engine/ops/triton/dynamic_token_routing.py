"""Dynamic Token Routing (spec 2.3) in three launches: logits, mix with LayerNorm, projection."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _product(a, b, sum, WIDE: tl.constexpr):
    """sum + a b^T."""
    if WIDE:
        return tl.dot(a.to(tl.float32), tl.trans(b.to(tl.float32)), sum, input_precision="ieee")
    return tl.dot(a.to(tl.bfloat16), tl.trans(b.to(tl.bfloat16)), sum)


@triton.jit
def route_logits(
    last, w1, b1, w2, partial, tokens,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, PICKS: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What BLOCK_H units of the router's inner layer give to the logits of BLOCK_T tokens.

    last     [tokens, WIDTH]; w1, b1 [HIDDEN, WIDTH], [HIDDEN]; w2 [PICKS, HIDDEN]
    partial  [blocks of hidden units, tokens, PICKS] float32
    """
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    h = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    inner = tl.zeros((BLOCK_T, BLOCK_H), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        x = tl.load(
            last + t[:, None] * WIDTH + k[None, :], mask=(t < tokens)[:, None] & (k < WIDTH)[None, :], other=0.0
        )
        w = tl.load(w1 + h[:, None] * WIDTH + k[None, :], mask=(h < HIDDEN)[:, None] & (k < WIDTH)[None, :], other=0.0)
        inner = _product(x, w, inner, WIDE)
    inner += tl.load(b1 + h, mask=h < HIDDEN, other=0.0).to(tl.float32)[None, :]
    inner = inner / (1.0 + tl.exp(-inner))
    for pick in tl.static_range(PICKS):
        own = tl.load(w2 + pick * HIDDEN + h, mask=h < HIDDEN, other=0.0).to(tl.float32)
        given = tl.where((h < HIDDEN)[None, :], inner * own[None, :], 0.0)
        place = partial + (tl.program_id(1) * tokens + t) * PICKS + pick
        tl.store(place, tl.sum(given, 1), mask=t < tokens)


@triton.jit
def route_mix(
    levels, partial, b2, scales, norm_weight, norm_bias, weights, normed,
    tokens, blocks, level_stride, inverse_temperature,
    WIDTH: tl.constexpr, PICKS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_W: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """One program a token: softmax over the picks, the scaled mix of its levels, LayerNorm.

    levels [PICKS, tokens, WIDTH], level_stride apart; weights [tokens, PICKS], normed [tokens, WIDTH] float32
    """
    token = tl.program_id(0)
    p = tl.arange(0, BLOCK_P)
    picked = p < PICKS
    logits = tl.load(b2 + p, mask=picked, other=0.0).to(tl.float32)
    for number in range(blocks):
        logits += tl.load(partial + (number * tokens + token) * PICKS + p, mask=picked, other=0.0)
    logits = tl.where(picked, logits, float("-inf"))
    raised = tl.exp((logits - tl.max(logits, 0)) * inverse_temperature)
    shares = raised / tl.sum(raised, 0)
    tl.store(weights + token * PICKS + p, shares, mask=picked)
    c = tl.arange(0, BLOCK_W)
    live = c < WIDTH
    mixed = tl.zeros((BLOCK_W,), tl.float32)
    for pick in tl.static_range(PICKS):
        share = tl.sum(tl.where(p == pick, shares, 0.0), 0) * tl.load(scales + pick).to(tl.float32)
        place = pick * level_stride.to(tl.int64) + token.to(tl.int64) * WIDTH + c
        mixed += share * tl.load(levels + place, mask=live, other=0.0).to(tl.float32)
    centred = tl.where(live, mixed - tl.sum(mixed, 0) / WIDTH, 0.0)
    normal = centred / tl.sqrt(tl.sum(centred * centred, 0) / WIDTH + EPS)
    normal = normal * tl.load(norm_weight + c, mask=live, other=0.0).to(tl.float32)
    normal += tl.load(norm_bias + c, mask=live, other=0.0).to(tl.float32)
    tl.store(normed + token.to(tl.int64) * WIDTH + c, normal.to(normed.dtype.element_ty), mask=live)


@triton.jit
def route_project(
    normed, weight, bias, out, tokens,
    WIDTH: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out [tokens, WIDTH] = normed weight^T + bias; weight [WIDTH, WIDTH]."""
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    result = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        x = tl.load(
            normed + t[:, None] * WIDTH + k[None, :], mask=(t < tokens)[:, None] & (k < WIDTH)[None, :], other=0.0
        )
        w = tl.load(
            weight + n[:, None] * WIDTH + k[None, :], mask=(n < WIDTH)[:, None] & (k < WIDTH)[None, :], other=0.0
        )
        result = _product(x, w, result, WIDE)
    result += tl.load(bias + n, mask=n < WIDTH, other=0.0).to(tl.float32)[None, :]
    live = (t < tokens)[:, None] & (n < WIDTH)[None, :]
    tl.store(out + t[:, None] * WIDTH + n[None, :], result.to(out.dtype.element_ty), mask=live)
