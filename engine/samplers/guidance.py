"""Classifier-free guidance (spec 6.2)."""

from __future__ import annotations

import numpy as np

from ..config.model import GUIDANCE_SCALE
from ..errors import InputError

LARGEST = float(np.finfo(np.float32).max)


def check_scale(scale: float) -> float:
    """`guidance_scale` as float; InputError unless it is a finite number that float32 can hold."""
    number = isinstance(scale, (int, float, np.integer, np.floating)) and not isinstance(scale, bool)
    if not number or not abs(scale) <= LARGEST:
        raise InputError(f"guidance_scale={scale!r} is not a finite number; the usual value is {GUIDANCE_SCALE}")
    return float(scale)


def branches(scale: float) -> int:
    """Guidance branches that a step computes: 1 (the prompt alone) at scale 1, else 2."""
    return 1 if scale == 1 else 2


def guide(velocity: np.ndarray, scale: float) -> np.ndarray:
    """Guided velocity v_u + scale (v_c - v_u), float32.

    velocity  [2 * images, ...]: every unconditional row, then every conditional one; at scale 1 [images, ...]
    returns   [images, ...]
    """
    velocity = velocity.astype(np.float32, copy=False)
    if branches(scale) == 1:
        return velocity
    if len(velocity) % 2:
        raise InputError(f"guidance: velocity has {len(velocity)} rows; scale {scale} needs an even number")
    half = len(velocity) // 2
    unconditional, conditional = velocity[:half], velocity[half:]
    return unconditional + np.float32(scale) * (conditional - unconditional)
