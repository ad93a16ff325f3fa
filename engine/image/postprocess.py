"""The decoder's floats to pictures (spec 1.1 step 10, 1.7, 3.5)."""

from __future__ import annotations

import numpy as np

from .preprocess import Padding
from .resample import bilinear, samples

SHRINK = 0.875  # 28/32: the vision tower folds 28 pixels into a token, the decoder unfolds 32


def shrunk(height: int, width: int) -> tuple[int, int]:
    return int(height * SHRINK), int(width * SHRINK)


def unit(decoded: np.ndarray, native: bool = False) -> np.ndarray:
    """Generated pictures in [0, 1].

    decoded  [batch, 3, rows, columns] float32, nominally in [-1, 1]
    returns  [batch, 3, height, width] float32: clamped, then 28/32 of the size, or all of it where `native`
    """
    clamped = np.clip(decoded, -1, 1) * np.float32(0.5) + np.float32(0.5)
    return clamped if native else bilinear(clamped, *shrunk(*decoded.shape[-2:]))


def pictures(decoded: np.ndarray, native: bool = False) -> np.ndarray:
    """Generated pictures, [batch, height, width, 3] uint8, rounded half to even.

    A picture that is still on a device and has `as_bytes` converts itself there."""
    if (convert := getattr(decoded, "as_bytes", None)) is not None:
        rows, columns = decoded.shape[-2:]
        sizes = (rows, columns) if native else shrunk(rows, columns)
        return convert(*(samples(size, wanted) for size, wanted in zip((rows, columns), sizes, strict=True)))
    return to_bytes(np.rint(unit(decoded, native) * np.float32(255)))


def reconstruction(decoded: np.ndarray, padding: Padding | None = None) -> np.ndarray:
    """Reconstructed pictures, not clamped, [batch, 3, height, width] float32.

    Padded input is resized with aligned corners and its padding cut off, as the original evaluates it."""
    size = shrunk(*decoded.shape[-2:])
    if padding is None:
        return bilinear(decoded, *size, like_torch=True)
    return np.ascontiguousarray(padding.cut(bilinear(decoded, *size, like_torch=True, align_corners=True)))


def reconstructed_pictures(image: np.ndarray) -> np.ndarray:
    """What `reconstruction` gave, as [batch, height, width, 3] uint8; truncated, not rounded."""
    return to_bytes(np.clip((image + np.float32(1)) * np.float32(0.5), 0, 1) * np.float32(255))


def to_bytes(scaled: np.ndarray) -> np.ndarray:
    """[batch, 3, height, width] in 0 .. 255 to [batch, height, width, 3] uint8; fractions are cut off."""
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(0, 2, 3, 1))
