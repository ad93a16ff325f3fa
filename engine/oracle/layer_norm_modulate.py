"""LayerNorm with the timestep's scale and shift in float64 (spec 4.5), its error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds, quantize_rows
from .check import Report, check

Inputs = dict[str, np.ndarray | float]


def _over_tokens(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector, np.float64)[:, None]


def layer_norm_modulate(**inputs: np.ndarray | float) -> np.ndarray:
    """(x - mean) / sqrt(variance + eps) * (1 + scale) + shift, [batch, tokens, width] float64.

    x             [batch, tokens, width]
    shift, scale  [batch, width]
    eps           1e-6 unless given
    """
    x = np.asarray(inputs["x"], np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        centred = x - x.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + inputs.get("eps", 1e-6))
        return normal * (1 + _over_tokens(inputs["scale"])) + _over_tokens(inputs["shift"])


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`, when everything before is float32."""
    width = inputs["x"].shape[-1]
    with np.errstate(invalid="ignore", over="ignore"):
        x, eps = bounds.exact(inputs["x"]), inputs.get("eps", 1e-6)
        normal = bounds.layer_norm(x, np.ones(width), np.zeros(width), eps)
        factor = bounds.add(bounds.exact(np.ones(1)), bounds.exact(_over_tokens(inputs["scale"])))
        moved = bounds.add(bounds.multiply(normal, factor), bounds.exact(_over_tokens(inputs["shift"])))
        return bounds.rounded(moved, dtype).error


def check_result(got: np.ndarray, inputs: Inputs, dtype: str = "f32") -> Report:
    """Compares a result (bf16 widened) with the equation; MismatchError where it is outside the bound."""
    return check(got, layer_norm_modulate(**inputs), bound(inputs, dtype), "out", dtype=dtype)


def check_quantized(values: np.ndarray, scales: np.ndarray, inputs: Inputs) -> Report:
    """Compares a result in e4m3 and its rows' scales with the equation; MismatchError where it is outside the bound."""
    exact = bounds.Bounded(layer_norm_modulate(**inputs), bound(inputs))
    return quantize_rows.check_rows(values, scales, exact)


def random_inputs(rng: np.random.Generator, batch: int, tokens: int, width: int) -> Inputs:
    """A residual stream with an offset, as it is after some blocks, float32."""
    x = 0.5 + 2 * rng.standard_normal((batch, tokens, width))
    shift, scale = 0.3 * rng.standard_normal((2, batch, width))
    return {"x": x.astype(np.float32), "shift": shift.astype(np.float32), "scale": scale.astype(np.float32)}


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name; every width is a multiple of 8."""
    yield "usual", random_inputs(rng, 2, 5, 1152)
    yield "wide", random_inputs(rng, 1, 3, 2240)
    yield "widest", random_inputs(rng, 1, 2, 4096)
    yield "narrow", random_inputs(rng, 3, 7, 8)
    yield "odd-eights", random_inputs(rng, 2, 1, 264)
    yield "no-tokens", random_inputs(rng, 2, 0, 64)
    flat = random_inputs(rng, 1, 3, 64)
    flat["x"][:] = np.float32(3.25)
    yield "no-variance", flat
    large = random_inputs(rng, 1, 3, 64)
    large["x"] *= np.float32(2.0**40)
    yield "large", large
    broken = random_inputs(rng, 1, 9, 64)
    broken["x"][0, 4, 7], broken["x"][0, 6, 63] = np.nan, np.inf
    yield "nan-and-infinity", broken
