"""How close one picture is to another: PSNR, SSIM, L1 on values in 0..1."""

from __future__ import annotations

import numpy as np

WINDOW = 7  # pixels, uniform


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB of two uint8 pictures; equal ones give 80."""
    error = (a.astype(np.float64) - b) / 255
    return float(-10 * np.log10(max((error**2).mean(), 1e-8)))


def l1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).mean() / 255)


def _box(x: np.ndarray) -> np.ndarray:
    """Mean over every WINDOW x WINDOW square, [rows, columns, channels]."""
    sums = np.pad(x.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    w = WINDOW
    return (sums[w:, w:] - sums[:-w, w:] - sums[w:, :-w] + sums[:-w, :-w]) / w**2


def ssim(a: np.ndarray, b: np.ndarray, data_range: float = 1.0) -> float:
    """Mean structural similarity of two uint8 pictures (Wang et al. 2004), uniform window.

    data_range  1 for values in 0..1; published tokenizer numbers of this family use 2, which scores higher"""
    a, b = a.astype(np.float64) / 255, b.astype(np.float64) / 255
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = _box(a), _box(b)
    var_a, var_b = _box(a * a) - mean_a**2, _box(b * b) - mean_b**2
    shared = _box(a * b) - mean_a * mean_b
    score = (2 * mean_a * mean_b + c1) * (2 * shared + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(score.mean())
