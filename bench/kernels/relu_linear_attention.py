"""ReLU linear attention of the DiT's self-attention (spec 4.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from spar_engine.config import ModelConfig
from spar_engine.oracle import relu_linear_attention as oracle

from .case import STEPS, Case, Shape

QUADRATIC = 1024  # tokens up to which the oracle's own form is affordable


def _shapes(config: ModelConfig) -> list[Shape]:
    d = config.dit
    sizes = (d.heads, d.sample_size**2, d.head_dim)
    # Block 0 attends once for both guidance branches, every other block for each.
    return [Shape(config.name, (2, *sizes), STEPS * (d.depth - 1)), Shape(config.name, (1, *sizes), STEPS)]


def _expected(inputs: dict[str, Any], dtype: str) -> np.ndarray:
    quadratic = inputs["query"].shape[2] <= QUADRATIC
    return oracle.relu_linear_attention(**inputs) if quadratic else linear_form(**inputs)


def linear_form(query: np.ndarray, key: np.ndarray, value: np.ndarray, eps: float = 1e-15) -> np.ndarray:
    """The same equation in float64 in its linear form, where the tokens x tokens weights would fill the memory."""
    query, key = (np.maximum(np.asarray(x, np.float64), 0) for x in (query, key))
    state = np.swapaxes(key, -1, -2) @ np.asarray(value, np.float64)
    return (query @ state) / (query @ key.sum(-2)[..., None] + eps)


def _plain(query: Any, key: Any, value: Any) -> Any:
    from spar_engine.ops.torch_ops import linear_attention

    return linear_attention(query, key, value)


CASE = Case(
    op="relu_linear_attention",
    kernels=("linear_attention",),
    axes=("batch", "heads", "tokens", "head_dim"),
    shapes=_shapes,
    large=(Shape("large", (1, 36, 4096, 32)), Shape("large", (1, 70, 4096, 32))),  # a 2048-pixel picture
    changing=("query", "key", "value"),
    half=("query", "key", "value"),
    make=oracle.random_inputs,
    expected=_expected,
    bound=lambda inputs, dtype: oracle.bound(inputs, dtype),
    plain=_plain,
    terms=lambda batch, heads, tokens, head_dim: max(tokens, head_dim),
    flops=lambda batch, heads, tokens, head_dim: batch * heads * tokens * 4 * head_dim * (head_dim + 1),
)
