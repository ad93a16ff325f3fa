"""Self-attention with grouped keys in float64 (spec 3.1, 5.1), its error bound and example inputs."""

from __future__ import annotations

import numpy as np

from . import cross_attention

Inputs = dict[str, np.ndarray | int]


def _spread(inputs: Inputs) -> Inputs:
    """The same as cross-attention: every key head as often as it has queries."""
    groups = inputs["query"].shape[1] // inputs["key"].shape[1]
    keys, values = (np.repeat(inputs[name], groups, axis=1) for name in ("key", "value"))
    causal = {"causal": 0} if inputs["causal"] else {}
    return {"query": inputs["query"], "keys": keys, "values": values} | causal


def attention(**inputs: np.ndarray | int) -> np.ndarray:
    """softmax(query key^T / sqrt(head_dim)) value, [1, heads, tokens, head_dim] float64.

    query       [1, heads, tokens, head_dim]
    key, value  [1, kv_heads, tokens, head_dim]; query head h reads key head h // (heads / kv_heads)
    causal      1: a token sees itself and those before it; 0: all
    """
    return cross_attention.cross_attention(**_spread(inputs))


def bound(inputs: Inputs, dtype: str = "f32", weights: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`; `weights` as in cross_attention.bound."""
    return cross_attention.bound(_spread(inputs), dtype, weights)


def random_inputs(
    rng: np.random.Generator, tokens: int, heads: int, kv_heads: int, head_dim: int, causal: int
) -> Inputs:
    """Standard normal queries, keys and values, float32."""
    made: Inputs = {"query": rng.standard_normal((1, heads, tokens, head_dim), np.float32), "causal": causal}
    for name in ("key", "value"):
        made[name] = rng.standard_normal((1, kv_heads, tokens, head_dim), np.float32)
    return made
