"""Gate, residual and the next norm in float64 (spec 4.5), their error bounds and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds, layer_norm_modulate
from .check import Report, check

Inputs = dict[str, np.ndarray | float]


def gate_residual(**inputs: np.ndarray | float) -> np.ndarray:
    """x + gate * y, [batch, tokens, width] float64.

    x, y  [batch, tokens, width]
    gate  [batch, width], 1 unless given
    """
    x, y = (np.asarray(inputs[name], np.float64) for name in ("x", "y"))
    with np.errstate(invalid="ignore", over="ignore"):
        return x + np.asarray(inputs.get("gate", np.ones((len(x), 1))), np.float64)[:, None] * y


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of the sum, stored as `dtype`, whether the product is rounded before it is added or not."""
    x, y = bounds.exact(inputs["x"]), bounds.exact(inputs["y"])
    gate = bounds.exact(np.asarray(inputs.get("gate", np.ones((len(x.value), 1))))[:, None])
    with np.errstate(invalid="ignore", over="ignore"):
        return bounds.rounded(bounds.add(x, bounds.multiply(gate, y)), dtype).error


def check_result(
    got: np.ndarray, inputs: Inputs, dtype: str = "f32", normed: np.ndarray | None = None, normed_dtype: str = "f32",
    normed_scales: np.ndarray | None = None,
) -> Report:  # fmt: skip
    """Compares a sum (bf16 widened) with the equation, and `normed`, where given, with the norm of that very sum; with
    `normed_scales` it is e4m3."""
    report = check(got, gate_residual(**inputs), bound(inputs, dtype), "out", dtype=dtype)
    if normed is not None:
        norm = {name: inputs[name] for name in ("shift", "scale", "eps") if name in inputs}
        if normed_scales is None:
            layer_norm_modulate.check_result(normed, {"x": got, **norm}, normed_dtype)
        else:
            layer_norm_modulate.check_quantized(normed, normed_scales, {"x": got, **norm})
    return report


def random_inputs(rng: np.random.Generator, batch: int, tokens: int, width: int, gate: bool = True) -> Inputs:
    """A residual stream, a branch and the vectors of the next norm, float32."""
    made = layer_norm_modulate.random_inputs(rng, batch, tokens, width)
    made["y"] = rng.standard_normal((batch, tokens, width)).astype(np.float32)
    if gate:
        made["gate"] = (0.5 * rng.standard_normal((batch, width))).astype(np.float32)
    return made


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name; every width is a multiple of 8."""
    yield "usual", random_inputs(rng, 2, 5, 1152)
    yield "without-gate", random_inputs(rng, 2, 3, 2240, gate=False)
    yield "narrow", random_inputs(rng, 3, 7, 8)
    yield "odd-eights", random_inputs(rng, 2, 1, 264)
    yield "no-tokens", random_inputs(rng, 2, 0, 64)
    cancelled = random_inputs(rng, 1, 4, 64, gate=False)
    cancelled["y"] = -cancelled["x"]
    yield "cancelled", cancelled
    broken = random_inputs(rng, 1, 9, 64)
    broken["x"][0, 4, 7], broken["y"][0, 6, 63] = np.nan, np.inf
    yield "nan-and-infinity", broken
