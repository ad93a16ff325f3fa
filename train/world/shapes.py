"""Signed distances of the six shapes, negative inside, in pixels; coverage follows from them."""

from __future__ import annotations

import numpy as np

from .palette import SHAPES


def _circle(x, y, r):
    return np.hypot(x, y) - 0.92 * r


def _square(x, y, r):
    return np.maximum(np.abs(x), np.abs(y)) - 0.82 * r


def _triangle(x, y, r):
    """Upright, apex at -r, base at 0.8 r, half base 0.98 r."""
    height, half = 1.8 * r, 0.98 * r
    slant = (np.abs(x) * height - (y + r) * half) / np.hypot(height, half)
    return np.maximum(slant, y - 0.8 * r)


def _diamond(x, y, r):
    return (np.abs(x) + np.abs(y) - r) / np.sqrt(2)


def _cross(x, y, r):
    x, y = np.abs(x), np.abs(y)
    arm = 0.34 * r
    return np.minimum(np.maximum(x - r, y - arm), np.maximum(y - r, x - arm))


def _star(x, y, r):
    """Five points, one of them up; the inner corners are at 0.45 r. Folded into one half of one point."""
    angle = np.mod(np.arctan2(x, -y) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    length = np.hypot(x, y)
    px, py = length * np.cos(angle), length * np.abs(np.sin(angle))
    tip, inner = np.array([r, 0.0]), 0.45 * r * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = inner - tip
    return ((px - tip[0]) * edge[1] - (py - tip[1]) * edge[0]) / np.hypot(*edge)


DISTANCES = {"circle": _circle, "square": _square, "triangle": _triangle, "diamond": _diamond, "cross": _cross,
             "star": _star}  # fmt: skip


def coverage(shape: int, x: np.ndarray, y: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
    """Share of each pixel that a shape covers, 0..1; x, y are pixel centres relative to the shape's, pixels."""
    return np.clip(0.5 - DISTANCES[SHAPES[shape]](x, y, radius), 0.0, 1.0)
