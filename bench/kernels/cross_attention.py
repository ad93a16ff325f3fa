"""Softmax attention over keys and values that are kept from call to call, packed: the condition in the DiT (spec 4.5),
and with one query a head the language model's cache while a token is decoded (spec 5.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from spar_engine.config import ModelConfig
from spar_engine.oracle import cross_attention as oracle

from .attention import grouped_graph
from .case import PROMPT, STEPS, Case, Shape


def _shapes(config: ModelConfig) -> list[Shape]:
    d, c, tokens = config.dit, config.language, config.query_count + PROMPT
    latent = d.sample_size**2
    return [
        Shape(config.name, (2, d.cross_heads, d.cross_heads, latent, tokens, d.cross_head_dim), STEPS * d.depth),
        Shape(config.name, (1, c.heads, c.kv_heads, 1, tokens, c.head_dim)),
    ]


def _make(
    rng: np.random.Generator, batch: int, heads: int, kv_heads: int, tokens: int, keys: int, head_dim: int
) -> dict[str, Any]:
    made = oracle.random_inputs(rng, batch, heads, tokens, keys, head_dim)
    return made | {name: made[name][:, :kv_heads].copy() for name in ("keys", "values")}


def _spread(inputs: dict[str, Any]) -> dict[str, Any]:
    groups = inputs["query"].shape[1] // inputs["keys"].shape[1]
    return inputs | {name: np.repeat(inputs[name], groups, axis=1) for name in ("keys", "values")}


def _plain(query: Any, keys: Any, values: Any) -> Any:
    import torch.nn.functional as nn

    return nn.scaled_dot_product_attention(query, keys, values, enable_gqa=query.shape[1] != keys.shape[1])


def _graph(batch: int, heads: int, kv_heads: int, tokens: int, keys: int, head_dim: int) -> str:
    return f"(query, keys, values) => (out) {{ {grouped_graph(heads, kv_heads, head_dim, 'keys', 'values')} }}"


CASE = Case(
    op="cross_attention",
    kernels=("attention",),
    axes=("batch", "heads", "kv_heads", "tokens", "keys", "head_dim"),
    shapes=_shapes,
    large=(
        Shape("large", (2, 16, 16, 4096, 288, 72)),
        Shape("large", (1, 14, 2, 1, 4096, 64)),
    ),  # 2048 pixels; a long chat
    changing=("query",),
    half=("query", "keys", "values"),
    inside=("bf16",),  # weights are rounded for the second product
    make=_make,
    expected=lambda inputs, dtype: oracle.cross_attention(**_spread(inputs)),
    bound=lambda inputs, dtype: oracle.bound(_spread(inputs), dtype, weights=dtype),
    plain=_plain,
    graph=_graph,
    terms=lambda batch, heads, kv_heads, tokens, keys, head_dim: max(keys, head_dim),
    flops=lambda batch, heads, kv_heads, tokens, keys, head_dim: batch * heads * tokens * keys * (4 * head_dim + 4),
)
