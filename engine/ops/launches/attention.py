"""Launches of the two attentions of a DiT block."""

from __future__ import annotations

import math
from typing import Any

from .launch import Launch, Scratch, alike, dense, divided, power_of_two, strides, tuning


def relu_linear_attention(
    query: Any, key: Any, value: Any, out: Any, *, eps: float = 1e-15, scratch: Scratch, wide: bool, arch: int = 80
) -> list[Launch]:
    """All [batch, heads, tokens, head_dim]; query, key and value with one set of strides."""
    op = "relu_linear_attention"
    alike(op, "query", query, "key", key)
    alike(op, "query", query, "value", value)
    batch, heads, tokens, head_dim = query.shape
    if 0 in query.shape:
        return []
    chosen = tuning(op, arch)
    given, target = strides(op, "query", query), strides(op, "out", out)
    block = chosen["tokens"]
    base = {"ROW": given[2], "HEAD": given[1], "HEADS": heads, "HEAD_DIM": head_dim,
            "BLOCK_D": power_of_two(head_dim), "BLOCK_T": block, "WIDE": wide}  # fmt: skip
    landing = {"ROW_OUT": target[2], "HEAD_OUT": target[1], "EPS": eps}
    warps, stages = chosen["warps"], chosen["stages"]
    if tokens <= chosen["one_launch"]:
        return [Launch(
            op, op, (batch * heads,), {"query": query, "key": key, "value": value, "out": out},
            {"tokens": tokens, "batch_stride": given[0], "out_batch_stride": target[0]}, base | landing, warps, stages,
        )]  # fmt: skip
    # Every chunk reads the states of all: few chunks keep that below the tokens themselves.
    chunk = block * divided(max(chosen["chunk"], divided(tokens, chosen["chunks"])), block)
    chunks = divided(tokens, chunk)
    states = scratch((batch * heads, chunks, base["BLOCK_D"] + 1, base["BLOCK_D"]))
    return [
        Launch(op, "relu_state", (batch * heads, chunks), {"key": key, "value": value, "states": states},
               {"tokens": tokens, "chunk": chunk, "chunks": chunks, "batch_stride": given[0]}, base, warps, stages),
        Launch(op, "relu_apply", (batch * heads, chunks), {"query": query, "states": states, "out": out},
               {"tokens": tokens, "chunk": chunk, "chunks": chunks, "batch_stride": given[0],
                "out_batch_stride": target[0]}, base | landing, warps, stages),
    ]  # fmt: skip


def cross_attention(
    query: Any, keys: Any, values: Any, out: Any, *, lengths: Any, scale: float | None = None, wide: bool,
    arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """query, out [batch, heads, tokens, head_dim]; keys, values [batch, heads, keys, head_dim], laid out alike."""
    op = "cross_attention"
    alike(op, "keys", keys, "values", values)
    batch, heads, tokens, head_dim = query.shape
    if 0 in query.shape:
        return []
    chosen = tuning(op, arch)
    given, target, stored = strides(op, "query", query), strides(op, "out", out), strides(op, "keys", keys)
    factor = head_dim**-0.5 if scale is None else scale
    return [Launch(
        op, op, (divided(tokens, chosen["tokens"]), batch * heads),
        {"query": query, "keys": keys, "values": values, "lengths": lengths, "out": out},
        {"tokens": tokens, "batch_stride": given[0], "out_batch_stride": target[0], "keys_batch_stride": stored[0],
         "keys_head_stride": stored[1]},
        {"ROW": given[2], "HEAD": given[1], "ROW_OUT": target[2], "HEAD_OUT": target[1], "ROW_KEYS": stored[2],
         "HEADS": heads, "HEAD_DIM": head_dim, "SCALE": factor * math.log2(math.e),
         "BLOCK_D": power_of_two(head_dim), "BLOCK_T": chosen["tokens"], "BLOCK_K": chosen["keys"], "WIDE": wide},
        chosen["warps"], chosen["stages"],
    )]  # fmt: skip


def project_cross_attention(
    x: Any, weight: Any, bias: Any, keys: Any, values: Any, out: Any, *, lengths: Any, wide: bool, arch: int = 80
) -> list[Launch]:
    """x [batch, tokens, width], weight [heads * head_dim, width]; the rest as `cross_attention`."""
    op = "cross_attention"
    dense(op, x=x, weight=weight)
    alike(op, "keys", keys, "values", values)
    batch, heads, tokens, head_dim = out.shape
    if 0 in out.shape:
        return []
    chosen = tuning("project_cross_attention", arch)
    target, stored = strides(op, "out", out), strides(op, "keys", keys)
    return [Launch(
        op, "project_cross_attention", (divided(tokens, chosen["tokens"]), batch * heads),
        {"x": x, "weight": weight, "bias": bias, "keys": keys, "values": values, "lengths": lengths, "out": out},
        {"tokens": tokens, "out_batch_stride": target[0], "keys_batch_stride": stored[0],
         "keys_head_stride": stored[1]},
        {"WIDTH": x.shape[2], "ROW_OUT": target[2], "HEAD_OUT": target[1], "ROW_KEYS": stored[2], "HEADS": heads,
         "HEAD_DIM": head_dim, "SCALE": head_dim**-0.5 * math.log2(math.e), "BLOCK_D": power_of_two(head_dim),
         "BLOCK_T": chosen["tokens"], "BLOCK_K": chosen["keys"], "BLOCK_W": chosen["inner"], "WIDE": wide},
        chosen["warps"], chosen["stages"],
    )]  # fmt: skip
