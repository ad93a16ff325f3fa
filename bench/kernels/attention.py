"""Softmax self-attention (spec 3.1, 5.1): the vision tower's over all tokens, the language model's over those before.

Keys and values are new in every call, so packing them for the two products is part of it."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import attention as oracle

from .case import PROMPT, Case, Shape


def _shapes(config: ModelConfig) -> list[Shape]:
    v, c = config.vision, config.language
    return [
        Shape(config.name, (v.grid**2 + 1, v.heads, v.heads, v.head_dim, 0)),  # patches and the class token
        Shape(config.name, (config.query_count + PROMPT, c.heads, c.kv_heads, c.head_dim, 1), c.depth),
    ]


def _plain(query: Any, key: Any, value: Any, causal: int) -> Any:
    import torch.nn.functional as nn

    grouped = query.shape[1] != key.shape[1]
    return nn.scaled_dot_product_attention(query, key, value, is_causal=bool(causal), enable_gqa=grouped)


def grouped_graph(heads: int, kv_heads: int, head_dim: int, keys: str, values: str, mask: str = "") -> str:
    """softmax(query keys^T / sqrt(head_dim)) values in ONNX; query heads that share keys are an axis of their own."""
    groups = heads // kv_heads
    return f"""
        split = Constant <value_ints: ints = [0, {kv_heads}, {groups}, -1, {head_dim}]> ()
        whole = Constant <value_ints: ints = [0, {heads}, -1, {head_dim}]> ()
        axis = Constant <value_ints: ints = [2]> ()
        scale = Constant <value_float: float = {head_dim**-0.5!r}> ()
        small = Mul (query, scale)
        q = Reshape (small, split)
        k_rows = Unsqueeze ({keys}, axis)
        k = Transpose <perm: ints = [0, 1, 2, 4, 3]> (k_rows)
        v = Unsqueeze ({values}, axis)
        logits = MatMul (q, k)
        {mask or "seen = Identity (logits)"}
        weights = Softmax <axis: int = -1> (seen)
        mixed = MatMul (weights, v)
        out = Reshape (mixed, whole)"""


def _graph(tokens: int, heads: int, kv_heads: int, head_dim: int, causal: int) -> str:
    mask = ""
    if causal:
        mask = f"""
        shape = Constant <value_ints: ints = [{tokens}, {tokens}]> ()
        low = Constant <value_float: float = -1e30> ()
        lows = Expand (low, shape)
        one = Constant <value_int: int = 1> ()
        above = Trilu <upper: int = 1> (lows, one)
        seen = Add (logits, above)"""
    return f"(query, key, value) => (out) {{ {grouped_graph(heads, kv_heads, head_dim, 'key', 'value', mask)} }}"


def _flops(tokens: int, heads: int, kv_heads: int, head_dim: int, causal: int) -> float:
    pairs = tokens * (tokens + 1) / 2 if causal else tokens**2
    return heads * pairs * (4 * head_dim + 4)


CASE = Case(
    op="attention",
    kernels=("attention",),
    axes=("tokens", "heads", "kv_heads", "head_dim", "causal"),
    shapes=_shapes,
    large=(Shape("large", (2048, 14, 2, 64, 1)),),  # a long prompt with spar-1b
    changing=("query", "key", "value"),
    half=("query", "key", "value"),
    inside=("bf16",),  # weights are rounded for the second product
    make=oracle.random_inputs,
    expected=lambda inputs, dtype: oracle.attention(**inputs),
    bound=lambda inputs, dtype: oracle.bound(inputs, dtype, weights=dtype),
    plain=_plain,
    graph=_graph,
    terms=lambda tokens, heads, kv_heads, head_dim, causal: tokens,
    flops=_flops,
)
