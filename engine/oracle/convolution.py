"""A 3x3 convolution over rows of pixels in float64 (spec 3.4), its error bound and example inputs."""

from __future__ import annotations

import numpy as np

from . import bounds

Inputs = dict[str, np.ndarray]


def _product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x [pictures, height, width, channels] by weight [columns, channels, 3, 3], zeros outside, float64."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.zeros((*x.shape[:3], len(weight)))
    for y in range(3):
        for z in range(3):
            total += padded[:, y : y + height, z : z + width] @ weight[:, :, y, z].astype(np.float64).T
    return total


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[pictures, height, width, columns] float64.

    x       [pictures, height, width, channels]
    weight  [columns, channels, 3, 3], bias [columns]
    """
    return _product(x, weight) + bias


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`, when the sums are float32 in any order, products rounded too."""
    x, weight = inputs["x"], inputs["weight"]
    terms = 9 * x.shape[-1]
    error = bounds.gamma(2 * terms) * _product(np.abs(x), np.abs(weight))
    error += terms * 2.0**-126 * (1 + np.abs(x).max() + np.abs(weight).max())  # bf16 products flush subnormal numbers
    total = bounds.add(bounds.Bounded(_product(x, weight), error), bounds.exact(inputs["bias"]))
    return bounds.rounded(total, dtype).error


def random_inputs(
    rng: np.random.Generator, pictures: int, height: int, width: int, channels: int, columns: int
) -> Inputs:
    """Normal pixels, and weights whose sums have a variance of one, float32."""
    return {
        "x": rng.standard_normal((pictures, height, width, channels), np.float32),
        "weight": rng.standard_normal((columns, channels, 3, 3), np.float32) * np.float32((9 * channels) ** -0.5),
        "bias": np.float32(0.1) * rng.standard_normal(columns, np.float32),
    }
