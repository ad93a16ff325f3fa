"""Softmax attention of image tokens over hoisted keys and values (spec 4.5), with an end for each branch."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _attend(
    q, keys, values, first, length, d, ROW_KEYS: tl.constexpr, HEAD_DIM: tl.constexpr, SCALE: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Queries [BLOCK_T, BLOCK_D] over the first `length` keys of a head, in blocks under a running maximum."""
    most = tl.full((BLOCK_T,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_T,), tl.float32)
    mixed = tl.zeros((BLOCK_T, BLOCK_D), tl.float32)
    for start in range(0, length, BLOCK_K):
        n = start + tl.arange(0, BLOCK_K)
        inside = (n < length)[:, None] & (d < HEAD_DIM)[None, :]
        k = tl.load(keys + first + n[:, None] * ROW_KEYS + d[None, :], mask=inside, other=0.0)
        v = tl.load(values + first + n[:, None] * ROW_KEYS + d[None, :], mask=inside, other=0.0)
        if WIDE:
            logits = tl.dot(q, tl.trans(k.to(tl.float32)), input_precision="ieee") * SCALE
        else:
            logits = tl.dot(q, tl.trans(k)) * SCALE
        logits = tl.where((n < length)[None, :], logits, float("-inf"))
        higher = tl.maximum(most, tl.max(logits, 1))
        weights = tl.exp2(logits - higher[:, None])
        shrink = tl.exp2(most - higher)
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None]
        if WIDE:
            mixed = tl.dot(weights, v.to(tl.float32), mixed, input_precision="ieee")
        else:
            mixed = tl.dot(weights.to(v.dtype), v, mixed)
        most = higher
    return mixed / tl.where(total > 0, total, 1.0)[:, None]


@triton.jit
def cross_attention(
    query, keys, values, lengths, out, tokens, batch_stride, out_batch_stride, keys_batch_stride, keys_head_stride,
    ROW: tl.constexpr, HEAD: tl.constexpr, ROW_OUT: tl.constexpr, HEAD_OUT: tl.constexpr, ROW_KEYS: tl.constexpr,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, SCALE: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One program a block of queries of one head.

    query, out    [batch, heads, tokens, HEAD_DIM] with strides batch_stride, HEAD, ROW, 1; out likewise
    keys, values  [batch, heads, keys, HEAD_DIM] with strides keys_batch_stride, keys_head_stride, ROW_KEYS, 1
    lengths       [batch]: the keys that are looked at; none gives 0
    SCALE         factor of the logits times log2(e)
    BLOCK_D       HEAD_DIM padded to what the tensor cores take: 72 and 112 become 128
    """
    pid = tl.program_id(1)
    batch, head = pid // HEADS, pid % HEADS
    length = tl.load(lengths + batch).to(tl.int32)
    d = tl.arange(0, BLOCK_D)
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    live = (t < tokens)[:, None] & (d < HEAD_DIM)[None, :]
    place = batch.to(tl.int64) * batch_stride + head * HEAD + t[:, None] * ROW + d[None, :]
    q = tl.load(query + place, mask=live, other=0.0)
    if WIDE:
        q = q.to(tl.float32)
    first = batch.to(tl.int64) * keys_batch_stride + head.to(tl.int64) * keys_head_stride
    result = _attend(q, keys, values, first, length, d, ROW_KEYS, HEAD_DIM, SCALE, BLOCK_D, BLOCK_T, BLOCK_K, WIDE)
    place = batch.to(tl.int64) * out_batch_stride + head * HEAD_OUT + t[:, None] * ROW_OUT + d[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=live)


@triton.jit
def project_cross_attention(
    x, weight, bias, keys, values, lengths, out, tokens, out_batch_stride, keys_batch_stride, keys_head_stride,
    WIDTH: tl.constexpr, ROW_OUT: tl.constexpr, HEAD_OUT: tl.constexpr, ROW_KEYS: tl.constexpr,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, SCALE: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_W: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The same with its queries made on the spot: x weight^T + bias of one head, which never leaves the registers.

    x       [batch, tokens, WIDTH] float32 or bf16; weight [HEADS * HEAD_DIM, WIDTH], bias [HEADS * HEAD_DIM]
    """
    pid = tl.program_id(1)
    batch, head = pid // HEADS, pid % HEADS
    length = tl.load(lengths + batch).to(tl.int32)
    d = tl.arange(0, BLOCK_D)
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    rows = (batch * tokens + t).to(tl.int64)[:, None] * WIDTH
    columns = (head * HEAD_DIM + d)[:, None] * WIDTH
    q = tl.zeros((BLOCK_T, BLOCK_D), tl.float32)
    for start in range(0, WIDTH, BLOCK_W):
        c = start + tl.arange(0, BLOCK_W)
        given = tl.load(x + rows + c[None, :], mask=(t < tokens)[:, None] & (c < WIDTH)[None, :], other=0.0)
        w = tl.load(weight + columns + c[None, :], mask=(d < HEAD_DIM)[:, None] & (c < WIDTH)[None, :], other=0.0)
        if WIDE:
            q = tl.dot(given.to(tl.float32), tl.trans(w.to(tl.float32)), q, input_precision="ieee")
        else:
            q = tl.dot(given.to(tl.bfloat16), tl.trans(w), q)
    q += tl.load(bias + head * HEAD_DIM + d, mask=d < HEAD_DIM, other=0.0).to(tl.float32)[None, :]
    if not WIDE:
        q = q.to(tl.bfloat16)
    first = batch.to(tl.int64) * keys_batch_stride + head.to(tl.int64) * keys_head_stride
    result = _attend(q, keys, values, first, length, d, ROW_KEYS, HEAD_DIM, SCALE, BLOCK_D, BLOCK_T, BLOCK_K, WIDE)
    place = batch.to(tl.int64) * out_batch_stride + head * HEAD_OUT + t[:, None] * ROW_OUT + d[None, :]
    live = (t < tokens)[:, None] & (d < HEAD_DIM)[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=live)
