"""Separable resampling in numpy (bilinear, nearest) and Pillow's bicubic with a fixed order of passes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .library import pillow


@lru_cache(maxsize=64)
def _taps(size: int, wanted: int, like_torch: bool, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower sample, upper sample and the upper one's weight, each [wanted]."""
    real = np.float32 if like_torch else np.float64
    place = np.arange(wanted, dtype=real)
    if align_corners:
        place *= real(size - 1) / real(max(wanted - 1, 1))
    else:
        place = np.clip((place + real(0.5)) * (real(size) / real(wanted)) - real(0.5), 0, size - 1)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32)


def samples(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Where `bilinear` reads along one axis: lower sample and weight of the one after it, [wanted] each."""
    low, _, weight = _taps(size, wanted, False, False)
    return low, weight


def bilinear(
    image: np.ndarray, height: int, width: int, *, like_torch: bool = False, align_corners: bool = False
) -> np.ndarray:
    """Bilinear resize without antialiasing.

    image          [..., rows, columns] float32
    like_torch     place the samples in float32 as torch's `interpolate` does, not in float64 as OpenCV's
                   INTER_LINEAR; at 100 pixels the results are 6e-6 of the range apart
    align_corners  the corner samples stay in place; else pixels have half-pixel centres
    returns        [..., height, width] float32
    """
    low, high, weight = _taps(image.shape[-2], height, like_torch, align_corners)
    lower = image[..., low, :]
    rows = lower + (image[..., high, :] - lower) * weight[:, None]
    low, high, weight = _taps(image.shape[-1], width, like_torch, align_corners)
    left = rows[..., low]
    return left + (rows[..., high] - left) * weight


def nearest_index(size: int, wanted: int) -> np.ndarray:
    """[wanted] which of `size` samples each place reads; half-pixel centres."""
    return (2 * np.arange(wanted) + 1) * size // (2 * wanted)


def nearest(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of the first two axes; no value that was not there."""
    return image[nearest_index(image.shape[0], height)[:, None], nearest_index(image.shape[1], width)]


def bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's antialiased bicubic. image [rows, columns, 3] uint8; returns [height, width, 3] uint8."""
    Image, _ = pillow()
    # One axis per call: some Pillow releases resize the vertical axis first, and the rounding between the passes shows.
    picture = Image.fromarray(image)
    across = picture.resize((width, picture.height), Image.Resampling.BICUBIC)
    return np.asarray(across.resize((width, height), Image.Resampling.BICUBIC))
