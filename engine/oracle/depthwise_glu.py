"""Depthwise 3x3 and gate of GLUMBConv in float64 (spec 4.5): `glumbconv_core` behind a SiLU that is done already."""

from __future__ import annotations

import numpy as np

from . import bounds
from .glumbconv_core import gated, mixed, random_inputs

Inputs = dict[str, np.ndarray]
__all__ = ["bound", "depthwise_glu", "random_inputs"]


def depthwise_glu(**inputs: np.ndarray) -> np.ndarray:
    """a * SiLU(g), (a, g) = halves of depthwise3x3(x) + bias, zeros outside; [pictures, height, width, hidden] float64.

    x       [pictures, height, width, 2 * hidden]
    weight  [9, 2 * hidden], tap = 3 * row + column
    bias    [2 * hidden]
    """
    return gated(mixed(bounds.exact(inputs["x"]), inputs["weight"], inputs["bias"])).value


def bound(inputs: Inputs, dtype: str = "f32", held: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`; `held` is the type that `a` is rounded to before it is gated.
    Everything else is float32, with fast exponentials and divisions."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = mixed(bounds.exact(inputs["x"]), inputs["weight"], inputs["bias"])
        return bounds.rounded(gated(total, held), dtype).error
