"""Separable resampling in numpy (bilinear, nearest) and Pillow's bicubic with a fixed order of passes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def _taps(size: int, wanted: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower sample, upper sample and the upper one's weight, each [wanted]."""
    place = np.arange(wanted, dtype=np.float64)
    if align_corners:
        place *= (size - 1) / max(wanted - 1, 1)
    else:
        place = np.clip((place + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32)


def bilinear(image: np.ndarray, height: int, width: int, align_corners: bool = False) -> np.ndarray:
    """Bilinear resize without antialiasing: OpenCV's INTER_LINEAR on floats, and torch's `interpolate`.

    image    [..., rows, columns] float32
    returns  [..., height, width] float32; half-pixel centres unless align_corners
    """
    low, high, weight = _taps(image.shape[-2], height, align_corners)
    lower = image[..., low, :]
    rows = lower + (image[..., high, :] - lower) * weight[:, None]
    low, high, weight = _taps(image.shape[-1], width, align_corners)
    left = rows[..., low]
    return left + (rows[..., high] - left) * weight


def nearest(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of the first two axes, half-pixel centres; no value that was not there."""
    rows = (2 * np.arange(height) + 1) * image.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * image.shape[1] // (2 * width)
    return image[rows[:, None], columns]


def bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's antialiased bicubic. image [rows, columns, 3] uint8; returns [height, width, 3] uint8."""
    from PIL import Image

    # One axis per call: some Pillow releases resize the vertical axis first, and the rounding between the passes shows.
    picture = Image.fromarray(image)
    across = picture.resize((width, picture.height), Image.Resampling.BICUBIC)
    return np.asarray(across.resize((width, height), Image.Resampling.BICUBIC))
