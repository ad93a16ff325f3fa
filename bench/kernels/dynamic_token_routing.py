"""Dynamic Token Routing between the language model's levels and the connector (spec 2.3)."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import dynamic_token_routing as oracle

from .case import PROMPT, Case, Shape


def _shapes(config: ModelConfig) -> list[Shape]:
    if config.router is None:
        return []
    tokens = config.query_count + PROMPT
    # The unconditional branch is the same for every picture and kept, so one call remains.
    return [Shape(config.name, (len(config.levels), tokens, config.language.width), 1)]


def _plain(levels: Any, temperature: float, **weights: Any) -> Any:
    from spar_engine.ops.torch_ops import route_tokens

    return route_tokens(levels, **weights, temperature=temperature)[-1]


def _flops(depth: int, tokens: int, width: int) -> float:
    router = 2 * width * (width // 2) + 2 * (width // 2) * depth
    return tokens * (router + 3 * depth * width + 8 * width + 2 * width * width)


CASE = Case(
    op="dynamic_token_routing",
    kernels=("gemm", "mix", "norm"),
    axes=("depth", "tokens", "width"),
    shapes=_shapes,
    large=(Shape("large", (4, 546, 1536)), Shape("large", (4, 2048, 896))),  # an edit with spar-3b; a long prompt
    changing=("levels",),
    half=("levels", "w1", "w2", "proj_weight"),
    make=oracle.random_inputs,
    expected=lambda inputs, dtype: oracle.dynamic_token_routing(**inputs),
    bound=lambda inputs, dtype: oracle.routed_bound(oracle.weights_bound(inputs), inputs, dtype),
    spread=lambda inputs, dtype: 0.0 if dtype == "f32" else oracle.operand_spread(inputs, dtype),
    plain=_plain,
    terms=lambda depth, tokens, width: width,
    flops=_flops,
)
