"""ReLU linear attention (spec 4.5): one launch for short sequences, two for long ones."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _relu(x):
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _rows(pointer, first, tokens, start, d, ROW: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_T: tl.constexpr):
    """float32 [BLOCK_T, BLOCK_D] of one head, zero beyond its end."""
    t = start + tl.arange(0, BLOCK_T)
    live = (t < tokens)[:, None] & (d < HEAD_DIM)[None, :]
    return tl.load(pointer + first + t[:, None] * ROW + d[None, :], mask=live, other=0.0).to(tl.float32)


@triton.jit
def _add_block(state, total, k, v, WIDE: tl.constexpr):
    """state += relu(k)^T v [key dim, value dim], total += sum of relu(k)."""
    k = _relu(k)
    if WIDE:
        state = tl.dot(tl.trans(k), v, state, input_precision="ieee")
    else:
        state = tl.dot(tl.trans(k.to(tl.bfloat16)), v.to(tl.bfloat16), state)
    return state, total + tl.sum(k, 0)


@triton.jit
def _apply(q, state, total, EPS: tl.constexpr, WIDE: tl.constexpr):
    """relu(q) state / (relu(q) total + eps)."""
    q = _relu(q)
    if WIDE:
        result = tl.dot(q, state, input_precision="ieee")
    else:
        # Three bfloat16 terms hold a float32 state, so the tensor cores lose nothing of it.
        high = state.to(tl.bfloat16)
        rest = state - high.to(tl.float32)
        middle = rest.to(tl.bfloat16)
        low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
        half = q.to(tl.bfloat16)
        result = tl.dot(half, low)
        result = tl.dot(half, middle, result)
        result = tl.dot(half, high, result)
    return result / (tl.sum(q * total[None, :], 1) + EPS)[:, None]


@triton.jit
def _store(out, first, tokens, start, d, result, ROW: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_T: tl.constexpr):
    t = start + tl.arange(0, BLOCK_T)
    live = (t < tokens)[:, None] & (d < HEAD_DIM)[None, :]
    tl.store(out + first + t[:, None] * ROW + d[None, :], result.to(out.dtype.element_ty), mask=live)


@triton.jit
def relu_linear_attention(
    query, key, value, out, tokens, batch_stride, out_batch_stride,
    ROW: tl.constexpr, HEAD: tl.constexpr, ROW_OUT: tl.constexpr, HEAD_OUT: tl.constexpr,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, EPS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One program a head of one batch entry: state in registers, then its application.

    query, key, value  [batch, heads, tokens, HEAD_DIM] with strides batch_stride, HEAD, ROW, 1; out likewise
    """
    pid = tl.program_id(0)
    batch, head = pid // HEADS, pid % HEADS
    first = batch.to(tl.int64) * batch_stride + head * HEAD
    d = tl.arange(0, BLOCK_D)
    state = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(0, tokens, BLOCK_T):
        k = _rows(key, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        v = _rows(value, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        state, total = _add_block(state, total, k, v, WIDE)
    target = batch.to(tl.int64) * out_batch_stride + head * HEAD_OUT
    for start in range(0, tokens, BLOCK_T):
        q = _rows(query, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        result = _apply(q, state, total, EPS, WIDE)
        _store(out, target, tokens, start, d, result, ROW_OUT, HEAD_DIM, BLOCK_T)


@triton.jit
def relu_state(
    key, value, states, tokens, chunk, chunks, batch_stride,
    ROW: tl.constexpr, HEAD: tl.constexpr, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Partial state of `chunk` tokens, a multiple of BLOCK_T. states [batch * heads, chunks, BLOCK_D + 1, BLOCK_D]
    float32; the last row of each is the total."""
    pid, number = tl.program_id(0), tl.program_id(1)
    batch, head = pid // HEADS, pid % HEADS
    first = batch.to(tl.int64) * batch_stride + head * HEAD
    d = tl.arange(0, BLOCK_D)
    state = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(number * chunk, min(tokens, (number + 1) * chunk), BLOCK_T):
        k = _rows(key, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        v = _rows(value, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        state, total = _add_block(state, total, k, v, WIDE)
    place = states + (pid * chunks + number) * (BLOCK_D + 1) * BLOCK_D
    tl.store(place + d[:, None] * BLOCK_D + d[None, :], state)
    tl.store(place + BLOCK_D * BLOCK_D + d, total)


@triton.jit
def relu_apply(
    query, states, out, tokens, chunk, chunks, batch_stride, out_batch_stride,
    ROW: tl.constexpr, HEAD: tl.constexpr, ROW_OUT: tl.constexpr, HEAD_OUT: tl.constexpr,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr, EPS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Sums the partial states in their order, and applies them to one chunk of tokens."""
    pid, mine = tl.program_id(0), tl.program_id(1)
    batch, head = pid // HEADS, pid % HEADS
    d = tl.arange(0, BLOCK_D)
    state = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for number in range(chunks):
        place = states + (pid * chunks + number) * (BLOCK_D + 1) * BLOCK_D
        state += tl.load(place + d[:, None] * BLOCK_D + d[None, :])
        total += tl.load(place + BLOCK_D * BLOCK_D + d)
    first = batch.to(tl.int64) * batch_stride + head * HEAD
    target = batch.to(tl.int64) * out_batch_stride + head * HEAD_OUT
    for start in range(mine * chunk, min(tokens, (mine + 1) * chunk), BLOCK_T):
        q = _rows(query, first, tokens, start, d, ROW, HEAD_DIM, BLOCK_T)
        result = _apply(q, state, total, EPS, WIDE)
        _store(out, target, tokens, start, d, result, ROW_OUT, HEAD_DIM, BLOCK_T)
