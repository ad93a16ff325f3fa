"""Weights in float8: e4m3 with a factor for each row, as the products of a plan built with `--precision fp8` read them.

Factors are bf16, because in a strongly typed network they have the type of what they scale. They are rounded up, so
that no value leaves the range; values are divided by the factor as it is stored, so its own rounding costs nothing.
"""

from __future__ import annotations

import numpy as np

from ...weights.dtypes import to_e4m3, to_f32

LARGEST = 448.0
"""Largest number that e4m3 has."""


def factor(largest: np.ndarray) -> np.ndarray:
    """bf16 bits (uint16) of the factors for values up to `largest` [...]: the least with largest / factor <= 448.

    Where there is nothing but zeros the factor is 1."""
    largest = np.asarray(largest, np.float32)
    wide = np.where(largest > 0, np.maximum(largest / np.float32(LARGEST), np.float32(2.0**-100)), np.float32(1))
    bits = wide.astype(np.float32).view(np.uint32)
    up = ((bits + np.uint32(0xFFFF)) >> 16).astype(np.uint16)
    short = to_f32(up, "BF16") * np.float32(LARGEST) < largest  # the quotient above was rounded down onto a bf16
    return up + short.astype(np.uint16)


def row_factors(weight: np.ndarray) -> np.ndarray:
    """bf16 bits [rows] of the factors of a weight [rows, ...]."""
    return factor(np.abs(weight.reshape(len(weight), -1)).max(axis=1, initial=0.0))


def rows(weight: np.ndarray) -> np.ndarray:
    """e4m3 bits (uint8) of a weight [rows, ...] whose rows are divided by `row_factors`."""
    scale = to_f32(row_factors(weight), "BF16").reshape(-1, *(1,) * (weight.ndim - 1))
    return to_e4m3(weight / scale)
