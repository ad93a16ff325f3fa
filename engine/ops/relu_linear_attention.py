"""ReLU linear attention on numpy arrays: attention whose cost grows linearly with the tokens."""

from __future__ import annotations

import numpy as np

from .threads import thread_count


def relu_linear_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    eps: float = 1e-15,
    *,
    out: np.ndarray | None = None,
    variant: str | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """relu(query) S / (relu(query) z + eps), S = relu(key)^T value and z = sum of relu(key) over the tokens.

    query, key, value  [batch, heads, tokens, head_dim], all float32 or all bf16 bits as uint16; views are fine as long
                       as the last axis is contiguous, so heads of one projection need no copy
    threads            of this call; None: the processors that this process may use. The bits do not depend on it
    variant            an element of `variants()`; the first one unless given
    out                array that takes the result, dense and apart from the inputs; a new one unless given
    returns            the result, of the same shape and type; sums are float32
    raises             InputError for a wrong shape, type or layout, BackendError for an unknown variant
    source             spec 4.5; error bound in spar_engine.oracle.relu_linear_attention
    """
    from .. import _native

    return _native.relu_linear_attention(query, key, value, eps, variant or "", thread_count(threads), out)


def variants() -> list[str]:
    """Implementations that this machine runs, best first."""
    from .. import _native

    return _native.relu_linear_attention_variants()
