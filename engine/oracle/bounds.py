"""Derived error bounds: how far a float32 computation may lie from the exact one, whatever its order of summation.

A `Bounded` carries the exact value and a bound on the error of the computed one; every function here returns the
`Bounded` of its result, so that bounds of whole operations compose. Source of the elementary bounds: Higham, Accuracy
and Stability of Numerical Algorithms, 2002, sections 2.2 and 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
"""Unit roundoff, round to nearest."""
TINY = {"f32": 2.0**-149, "f16": 2.0**-24, "bf16": 2.0**-133}
"""Smallest positive number: the error of a result that underflows."""
_U = UNIT["f32"]
_EXP = 4 * _U  # relative error allowed to an exponential function in float32
_FLUSH = 2.0**-126  # exponentials may clamp their argument, or flush their result, below the normal numbers


@dataclass(frozen=True, slots=True)
class Bounded:
    """An exact array and, element by element, a bound on |computed - exact|."""

    value: np.ndarray  # float64
    error: np.ndarray  # float64, at least 0

    @property
    def size(self) -> np.ndarray:
        """Bound on the absolute value of what was computed."""
        return np.abs(self.value) + self.error


def exact(values: np.ndarray) -> Bounded:
    """Inputs: they are what they are."""
    wide = np.asarray(values, np.float64)
    return Bounded(wide, np.zeros_like(wide))


def gamma(terms: int, dtype: str = "f32") -> float:
    """Relative error of a sum or product of `terms` roundings, in any order."""
    share = terms * UNIT[dtype]
    if share >= 1:
        raise ValueError(f"no bound holds for {terms} roundings in {dtype}")
    return share / (1 - share)


def rounded(x: Bounded, dtype: str) -> Bounded:
    """x, stored as `dtype`."""
    return Bounded(x.value, x.error + UNIT[dtype] * x.size + TINY[dtype])


def dot(x: Bounded, y: Bounded) -> Bounded:
    """x @ y for matrices (or stacks of them), summed in float32 in any order."""
    terms = x.value.shape[-1]
    inherited = x.error @ np.abs(y.value) + x.size @ y.error
    return Bounded(x.value @ y.value, inherited + gamma(max(terms, 1)) * (x.size @ y.size) + terms * TINY["f32"])


def add(x: Bounded, y: Bounded) -> Bounded:
    return _settled(x.value + y.value, x.error + y.error)


def multiply(x: Bounded, y: Bounded) -> Bounded:
    return _settled(x.value * y.value, x.error * np.abs(y.value) + x.size * y.error)


def divide(x: Bounded, y: Bounded) -> Bounded:
    """x / y for positive y whose error is less than y: the divisor is no smaller than y - error."""
    least = y.value - y.error
    if (least <= 0).any():
        raise ValueError("no bound holds for a division by a number that may be zero")
    value = x.value / y.value
    return _settled(value, (x.error + np.abs(value) * y.error) / least)


def linear(x: Bounded, weight: np.ndarray, bias: np.ndarray) -> Bounded:
    """x [..., in] times weight [out, in], plus bias [out]."""
    return add(dot(x, exact(np.asarray(weight).T)), exact(bias))


def silu(x: Bounded) -> Bounded:
    """x / (1 + exp(-x)), one exponential and two roundings; the slope of SiLU is below 1.1 everywhere."""
    with np.errstate(over="ignore"):
        value = x.value / (1 + np.exp(-x.value))
    own = (_EXP + 3 * _U) * (np.abs(value) + 1.1 * x.error) + _FLUSH * x.size + TINY["f32"]
    return Bounded(value, 1.1 * x.error + own)


def softmax(x: Bounded, temperature: float) -> Bounded:
    """softmax(x / temperature) over the last axis, the largest logit subtracted before the exponentials.

    An error d in a logit multiplies its exponential by at most exp(d); with s = sum of weight * expm1(d), the divisor
    keeps at least the share 1 - s. Weights lie between 0 and 1, so no error exceeds 1 by more than the roundings.
    """
    scaled = x.value / temperature
    logits = _settled(scaled, x.error / temperature + _U * np.abs(scaled))  # the temperature is rounded too
    below = logits.value.max(-1, keepdims=True) - logits.value
    value = np.exp(-below)
    value /= value.sum(-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log_error = logits.error + _U * (below + 2 * logits.error.max(-1, keepdims=True))
        growth = np.expm1(log_error)
        share = (value * growth).sum(-1, keepdims=True)
        rounding = 1 + _EXP + gamma(value.shape[-1] + 2)
        error = value * ((1 + growth) * rounding / (1 - share) - 1) + _FLUSH
        error = np.where((share < 1) & (error < 1), error, 1.0 + gamma(4))
    return Bounded(value, error)


def layer_norm(x: Bounded, weight: np.ndarray, bias: np.ndarray, eps: float) -> Bounded:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis; the variance from centred values.

    With d = x - mean known to within e: |change of the variance| <= 2 sqrt(variance mean(e^2)) + mean(e^2), by
    Cauchy-Schwarz. A variance off by the share r of variance + eps changes the inverse root by at most the factor
    1 / sqrt(1 - r); where r is near 1 the computed root is still no smaller than sqrt(eps).
    """
    terms = x.value.shape[-1]
    centred = x.value - x.value.mean(-1, keepdims=True)
    mean_error = x.error.mean(-1, keepdims=True) + gamma(terms + 1) * x.size.mean(-1, keepdims=True)
    d = _settled(centred, x.error + mean_error)
    variance = (d.value**2).mean(-1, keepdims=True)
    spread = (d.error**2).mean(-1, keepdims=True)
    change = 2 * np.sqrt(variance * spread) + spread
    change += gamma(terms + 3) * (variance + change) + _U * eps + TINY["f32"]
    root = np.sqrt(variance + eps)
    share = np.minimum(change / (variance + eps), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(share < 1, 1 / np.sqrt(1 - share) - 1, np.inf)
    off = (
        np.minimum(off, root / np.sqrt(eps)) * (1 + 4 * _U) + 4 * _U
    )  # computed root >= sqrt(eps), so its inverse is within that
    normal = Bounded(d.value / root, (d.error * (1 + off) + np.abs(d.value) * off) / root)
    return add(multiply(_settled(normal.value, normal.error), exact(weight)), exact(bias))


def _settled(value: np.ndarray, error: np.ndarray) -> Bounded:
    """A value that carries `error` and is now rounded to float32."""
    return rounded(Bounded(value, error), "f32")
