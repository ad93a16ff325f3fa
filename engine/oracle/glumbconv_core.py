"""SiLU, depthwise 3x3 and gate of GLUMBConv in float64 (spec 4.5), their error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray]
# Relative error allowed to a fast exponential and division beyond that of accurate ones, per unit of the argument: the
# argument is multiplied by log2(e) in float32 first. Arguments whose exponential is a float32 lie below 89.
_FAST = 2 * 89 * bounds.UNIT["f32"]


def _silu(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return x / (1 + np.exp(-x))


def _shifted(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(tap, x moved so that it meets that tap), zeros outside; x [batch, rows, columns, channels]."""
    rows, columns = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for tap in range(9):
        yield tap, padded[:, tap // 3 : tap // 3 + rows, tap % 3 : tap % 3 + columns]


def _depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = np.zeros_like(x)
    with np.errstate(invalid="ignore", over="ignore"):
        for tap, moved in _shifted(x):
            total += moved * np.asarray(weight[tap], np.float64)
    return total


def glumbconv_core(**inputs: np.ndarray) -> np.ndarray:
    """a * SiLU(g), (a, g) = halves of depthwise3x3(SiLU(x)) + bias; [batch, rows, columns, hidden] float64.

    x       [batch, rows, columns, 2 * hidden]
    weight  [9, 2 * hidden], tap = 3 * row + column
    bias    [2 * hidden]
    """
    inner = _depthwise(_silu(np.asarray(inputs["x"], np.float64)), inputs["weight"]) + np.asarray(inputs["bias"])
    value, gate = np.split(inner, 2, axis=-1)
    with np.errstate(invalid="ignore", over="ignore"):
        return value * _silu(gate)


def _fast_silu(x: bounds.Bounded) -> bounds.Bounded:
    result = bounds.silu(x)
    return bounds.Bounded(result.value, result.error + _FAST * result.size + 2.0**-126 * x.size)


def mixed(x: bounds.Bounded, weight: np.ndarray, bias: np.ndarray) -> bounds.Bounded:
    """depthwise3x3(x) + bias, summed in float32 in any order."""
    weight, bias = np.asarray(weight, np.float64), np.asarray(bias, np.float64)
    error = _depthwise(x.error, np.abs(weight))
    error = error + bounds.gamma(10) * (_depthwise(x.size, np.abs(weight)) + np.abs(bias)) + 10 * bounds.TINY["f32"]
    return bounds.Bounded(_depthwise(x.value, weight) + bias, error)


def gated(total: bounds.Bounded, held: str = "f32") -> bounds.Bounded:
    """a * SiLU(g), (a, g) the halves of the last axis; `held` is the type that a is rounded to before."""
    value, gate = (
        bounds.Bounded(v, e)
        for v, e in zip(np.split(total.value, 2, axis=-1), np.split(total.error, 2, axis=-1), strict=True)
    )
    return bounds.multiply(value if held == "f32" else bounds.rounded(value, held), _fast_silu(gate))


def bound(inputs: Inputs, dtype: str = "f32", inner: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`; `inner` is the type that SiLU(x) is rounded to before the
    convolution. Everything else is float32, with fast exponentials and divisions."""
    with np.errstate(invalid="ignore", over="ignore"):
        x = bounds.rounded(_fast_silu(bounds.exact(inputs["x"])), inner)
        return bounds.rounded(gated(mixed(x, inputs["weight"], inputs["bias"])), dtype).error


def check_result(got: np.ndarray, inputs: Inputs, dtype: str = "f32", inner: str = "f32") -> Report:
    """Compares a result (bf16 widened) with the equation; MismatchError where it is outside the bound."""
    return check(got, glumbconv_core(**inputs), bound(inputs, dtype, inner), "out", dtype=dtype)


def random_inputs(rng: np.random.Generator, batch: int, rows: int, columns: int, hidden: int) -> Inputs:
    """Inputs at the scale of a trained model, float32."""
    return {
        "x": (1.5 * rng.standard_normal((batch, rows, columns, 2 * hidden))).astype(np.float32),
        "weight": (0.4 * rng.standard_normal((9, 2 * hidden))).astype(np.float32),
        "bias": (0.1 * rng.standard_normal(2 * hidden)).astype(np.float32),
    }


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name; every hidden width is a multiple of 8."""
    yield "one-tile", random_inputs(rng, 2, 16, 16, 40)
    yield "small-picture", random_inputs(rng, 1, 4, 4, 32)
    yield "partial-tiles", random_inputs(rng, 1, 19, 33, 24)
    yield "one-pixel", random_inputs(rng, 1, 1, 1, 8)
    yield "one-column", random_inputs(rng, 1, 18, 1, 8)
    yield "no-batch", random_inputs(rng, 0, 4, 4, 8)
    saturated = random_inputs(rng, 1, 5, 7, 16)
    saturated["x"] *= np.float32(100)
    yield "saturated", saturated
    broken = random_inputs(rng, 1, 18, 17, 16)
    broken["x"][0, 16, 3, 5] = np.nan
    yield "nan", broken
