"""Rows in float8 (e4m3) with a scale each in float64, error bounds and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .bounds import Bounded
from .check import Report, check

Inputs = dict[str, np.ndarray]

LARGEST = 448.0  # of e4m3
LEAST_ROW = 2.0**-100  # what a row of zeros counts as
_SLACK = 8 * bounds.UNIT["f32"]  # a division, a product and their approximations on a GPU


def scales_of(x: np.ndarray) -> np.ndarray:
    """A row's largest |x| / 448, NaN not counted: x [..., width] -> [...] float64."""
    size = np.abs(np.asarray(x, np.float64))
    return np.maximum(np.where(np.isnan(size), 0, size).max(-1, initial=0), LEAST_ROW) / LARGEST


def spacing(size: np.ndarray) -> np.ndarray:
    """Distance of neighbouring e4m3 numbers at a size: three bits after the first one, 2^-9 below 2^-6."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log2(np.minimum(size, LARGEST)))
    return 2.0 ** (np.clip(np.nan_to_num(exponent, nan=0.0), -6, 8) - 3)


def nearest(x: np.ndarray) -> np.ndarray:
    """The e4m3 number nearest to x, ties to even, at most 448 in size; NaN stays NaN. float64."""
    x = np.clip(np.asarray(x, np.float64), -LARGEST, LARGEST)
    step = spacing(np.abs(x))
    return np.rint(x / step) * step


def quantize_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [..., width] -> what its e4m3 numbers stand for, scale included, [..., width]; the scales [...]. float64."""
    scales = scales_of(x)
    with np.errstate(invalid="ignore"):
        return nearest(np.asarray(x, np.float64) / scales[..., None]) * scales[..., None], scales


def check_rows(values: np.ndarray, scales: np.ndarray, exact: Bounded) -> Report:
    """Compares rows that were computed to within a bound and then quantised.

    values  [..., width] what the e4m3 bits stand for, without the scale; scales [...]

    The scale is that of the computed row. Times the value it lies within half a spacing of e4m3 of the element, and the
    element's own error. Rows with an infinity have an infinite scale, and every product with them is NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.where(np.isnan(exact.error), 0, exact.error)
        want = scales_of(exact.value)
        near = np.where(np.isfinite(want), want, 0)
        check(scales, want, finite.max(-1, initial=0) / LARGEST + _SLACK * near, "scales")
        scale = np.asarray(scales, np.float64)[..., None]
        half = spacing((np.abs(exact.value) + finite) / scale * (1 + _SLACK)) / 2
        allowed = scale * half * (1 + _SLACK) + finite + _SLACK * np.abs(exact.value)
        product = np.asarray(values, np.float64) * scale
        lost = np.isinf(np.broadcast_to(scale, product.shape))
        return check(product, np.where(lost, np.nan, exact.value), np.where(lost, 0, allowed), "values")


def check_result(values: np.ndarray, scales: np.ndarray, inputs: Inputs) -> Report:
    """Compares e4m3 rows and their scales with the equation; MismatchError where one is outside the bound."""
    return check_rows(values, scales, bounds.exact(inputs["x"]))


def random_inputs(rng: np.random.Generator, rows: int, width: int) -> Inputs:
    """Activations with an offset, float32; every row has its own size."""
    x = (0.3 + rng.standard_normal((rows, width))) * 2.0 ** rng.integers(-6, 6, (rows, 1))
    return {"x": x.astype(np.float32)}


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name; every width is a multiple of 8."""
    yield "usual", random_inputs(rng, 5, 1152)
    yield "hidden", random_inputs(rng, 3, 2880)
    yield "wide-hidden", random_inputs(rng, 2, 5600)
    yield "widest", random_inputs(rng, 1, 8192)
    yield "narrow", random_inputs(rng, 7, 8)
    yield "odd-eights", random_inputs(rng, 2, 264)
    yield "no-rows", random_inputs(rng, 0, 64)
    zero = random_inputs(rng, 4, 64)
    zero["x"][1:3] = 0
    yield "zeros", zero
    outlier = random_inputs(rng, 3, 1152)
    outlier["x"][:, 1151] = -(2.0**12)  # what is left is below the normal numbers of e4m3
    yield "outlier", outlier
    for name, scale in (("large", 2.0**115), ("tiny", 2.0**-110), ("denormal", 2.0**-135)):
        yield name, {"x": random_inputs(rng, 3, 64)["x"] * np.float32(scale)}
    broken = random_inputs(rng, 5, 64)
    broken["x"][1, 7], broken["x"][3, 63] = np.nan, -np.inf
    yield "nan-and-infinity", broken
