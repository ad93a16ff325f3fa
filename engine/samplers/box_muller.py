"""Box-Muller from +, -, *, / and sqrt alone: IEEE 754 rounds these exactly, so every machine gets the same bits."""

from __future__ import annotations

import math

import numpy as np

LN2 = 0.6931471805599453
ANGLE = math.pi / 2**31  # radians in one unit of a word
_LOG = tuple(2.0 / (2 * k + 1) for k in range(10, -1, -1))  # of artanh, highest power first; s^23 is below 2^-53
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(8, -1, -1))  # to x^17, |x| <= pi/4
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(8, -1, -1))  # to x^16


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """Horner's rule, highest power first; a product and a sum are rounded apart, never fused."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total


def logarithm(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of positive float64, to a few units in the last place."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2 * mantissa, mantissa)
    exponent = exponent - low
    s = (mantissa - 1) / (mantissa + 1)
    return exponent * LN2 + s * _polynomial(_LOG, s * s)


def cos_sin(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of 2 pi word / 2^32; the octant comes from the word's bits, so the reduction is exact."""
    quarter = (words.astype(np.uint64) + np.uint64(1 << 29)) >> np.uint64(30)  # nearest quarter turn, 0..4
    rest = (words.astype(np.int64) - (quarter.astype(np.int64) << 30)) * ANGLE  # |rest| <= pi/4
    square = rest * rest
    cos, sin = _polynomial(_COS, square), rest * _polynomial(_SIN, square)
    odd, turn = quarter & np.uint64(1) == 1, quarter & np.uint64(3)
    real, imaginary = np.where(odd, sin, cos), np.where(odd, cos, sin)
    return (
        np.where((turn == 1) | (turn == 2), -real, real),
        np.where(turn >= 2, -imaginary, imaginary),
    )


def normals(words: np.ndarray) -> np.ndarray:
    """[n, 4] uint32 to [n, 4] float32 of N(0, 1): words 0, 1 make numbers 0, 1; words 2, 3 make 2, 3."""
    radius = np.sqrt(-2.0 * logarithm((words[:, 0::2].astype(np.float64) + 1) * 2.0**-32))
    cos, sin = cos_sin(words[:, 1::2])
    return np.stack((radius * cos, radius * sin), axis=2).reshape(-1, 4).astype(np.float32)
