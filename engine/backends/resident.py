"""A tensor that stays on a device between two calls."""

from __future__ import annotations

from typing import Any

import numpy as np


class Resident:
    """Wraps an OrtValue. Its shape and type can be looked at; its values are copied only when numpy asks for them."""

    def __init__(self, value: Any):
        self.value = value
        self.shape = tuple(value.shape())
        self.dtype = np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value.numpy(), dtype=dtype)
