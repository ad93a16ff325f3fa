"""bf16 vectors for kernels that take them as float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..weights.dtypes import to_f32


def as_f32(values: Any) -> Any:
    """bf16 bits (uint16) as float32, which is exact; anything else as it is, for the kernel's own check."""
    if isinstance(values, np.ndarray) and values.dtype == np.uint16:
        return to_f32(values, "BF16")
    return values
