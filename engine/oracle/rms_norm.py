"""RMSNorm of the language model in float64 (spec 5.1), its error bound and example inputs."""

from __future__ import annotations

import numpy as np

from . import bounds

Inputs = dict[str, np.ndarray]
EPS = 1e-6


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x / sqrt(mean(x^2) + 1e-6) * weight over the last axis, float64; x [rows, width], weight [width]."""
    wide = np.asarray(x, np.float64)
    return wide / np.sqrt((wide**2).mean(-1, keepdims=True) + EPS) * weight


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`, when everything before is float32.

    The mean of squares is a sum of terms of one sign: its relative error is that of its roundings. A root of a number
    that is off by the share r changes the quotient by at most the factor 1 / sqrt(1 - r); division, root and the
    product with its inverse add a few roundings of their own.
    """
    x = np.asarray(inputs["x"], np.float64)
    value = x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS)
    share = bounds.gamma(x.shape[-1] + 4)
    off = 1 / np.sqrt(1 - share) - 1 + 4 * bounds.UNIT["f32"]
    normal = bounds.Bounded(value, np.abs(value) * off + bounds.TINY["f32"])
    return bounds.rounded(bounds.multiply(normal, bounds.exact(inputs["weight"])), dtype).error


def random_inputs(rng: np.random.Generator, rows: int, width: int) -> Inputs:
    """A residual stream, and weights around one, float32."""
    return {
        "x": np.float32(2) * rng.standard_normal((rows, width), np.float32),
        "weight": 1 + np.float32(0.2) * rng.standard_normal(width, np.float32),
    }
