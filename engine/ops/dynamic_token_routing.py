"""Dynamic Token Routing on numpy arrays: every token mixes the levels of the language model with its own weights."""

from __future__ import annotations

import numpy as np

from .reals import as_f32
from .threads import thread_count


def dynamic_token_routing(
    levels: np.ndarray,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    scales: np.ndarray,
    norm_weight: np.ndarray,
    norm_bias: np.ndarray,
    proj_weight: np.ndarray,
    proj_bias: np.ndarray,
    temperature: float = 1.0,
    *,
    eps: float = 1e-5,
    want_weights: bool = False,
    out: np.ndarray | None = None,
    variant: str | None = None,
    threads: int | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """proj(layer_norm(sum_k w[t, k] * scales[k] * levels[k, t])), w = softmax(router(levels[-1]) / temperature).

    levels        [depth, tokens, width], float32 or bf16 bits as uint16
    w1, b1        [hidden, width], [hidden]: router, then SiLU; w2, b2 [depth, hidden], [depth]
    proj_weight   [width, width]; the three matrices are all float32 or all bf16 bits
    scales        [depth]; norm_weight, norm_bias, proj_bias [width]; vectors may be float32 or bf16 bits
    want_weights  return w [tokens, depth], float32, as well
    out           array that takes the result, dense and apart from the inputs; a new one unless given
    threads       of this call; None: the processors that this process may use. The bits do not depend on it
    variant       an element of `variants()`; the first one unless given
    returns       routed [tokens, width] of the type of `levels`; sums are float32
    raises        InputError for a wrong shape, type or layout, BackendError for an unknown variant
    source        spec 2.3; error bound in spar_engine.oracle.dynamic_token_routing
    """
    from .. import _native

    vectors = (as_f32(x) for x in (b1, b2, scales, norm_weight, norm_bias, proj_bias))
    b1, b2, scales, norm_weight, norm_bias, proj_bias = vectors
    routed, weights = _native.dynamic_token_routing(
        levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight, proj_bias,
        temperature, eps, want_weights, variant or "", thread_count(threads), out,
    )  # fmt: skip
    return (routed, weights) if want_weights else routed


def variants() -> list[str]:
    """Implementations that this machine runs, best first."""
    from .. import _native

    return _native.dynamic_token_routing_variants()
