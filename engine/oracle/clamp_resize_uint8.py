"""From the decoder's floats to bytes in float64 (spec 1.1 step 10), the error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray | int]


def _taps(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower sample, upper sample, weight of the upper one: half-pixel centres, [wanted] each."""
    place = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), place - low


def clamp_resize_uint8(**inputs: np.ndarray | int) -> np.ndarray:
    """255 * bilinear((clamp(image) + 1) / 2), [batch, height, width, 3] float64, before it is rounded to bytes.

    image          [batch, 3, rows, columns], nominally -1 to 1
    height, width  of the result
    """
    image = (np.clip(np.asarray(inputs["image"], np.float64), -1, 1) + 1) / 2
    low, high, weight = _taps(image.shape[-2], inputs["height"])
    rows = image[..., low, :] * (1 - weight[:, None]) + image[..., high, :] * weight[:, None]
    low, high, weight = _taps(image.shape[-1], inputs["width"])
    return 255 * (rows[..., low] * (1 - weight) + rows[..., high] * weight).transpose(0, 2, 3, 1)


def bound() -> float:
    """Largest distance of a byte from the exact value: half a step, and float32 roundings of numbers up to 1.

    Two roundings of the unit interval, one of each weight, three of each of three blends, one of the product with 255.
    """
    return 0.5 + 255 * bounds.gamma(2 + 2 + 9 + 1)


def check_result(got: np.ndarray, inputs: Inputs) -> Report:
    """Compares bytes [batch, height, width, 3] with the equation; MismatchError where one is not the nearest."""
    return check(got, clamp_resize_uint8(**inputs), bound(), "out")


def random_inputs(rng: np.random.Generator, batch: int, rows: int, columns: int, height: int, width: int) -> Inputs:
    """A noisy picture, part of which lies beyond the range, float32."""
    image = 0.7 * rng.standard_normal((batch, 3, rows, columns))
    return {"image": image.astype(np.float32), "height": height, "width": width}


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name."""
    yield "shrink", random_inputs(rng, 2, 64, 64, 56, 56)
    yield "wide", random_inputs(rng, 1, 32, 160, 28, 140)
    yield "same-size", random_inputs(rng, 1, 9, 7, 9, 7)
    yield "enlarge", random_inputs(rng, 1, 5, 6, 13, 17)
    yield "one-pixel", random_inputs(rng, 1, 1, 1, 3, 2)
    yield "to-one-pixel", random_inputs(rng, 1, 6, 5, 1, 1)
    yield "no-pictures", random_inputs(rng, 0, 8, 8, 7, 7)
    extreme = random_inputs(rng, 1, 16, 16, 14, 14)
    extreme["image"][0, 0], extreme["image"][0, 1, ::2] = np.inf, -np.inf
    yield "infinities", extreme
