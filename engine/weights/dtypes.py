"""Element types of safetensors files, and how each one becomes float32."""

from __future__ import annotations

import numpy as np

STORAGE = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""How each type lies in memory. bf16 and the float8 types have no numpy type: their bits are unsigned integers."""

FLOATS = frozenset(("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"))
"""Types that a parameter may have."""


def to_f32(raw: np.ndarray, dtype: str) -> np.ndarray:
    """New float32 array with the values of `raw`, whose elements are stored as `dtype` (one of FLOATS)."""
    if dtype == "BF16":
        return np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)
    if dtype == "F8_E4M3":
        return _E4M3[raw]
    if dtype == "F8_E5M2":
        return _E5M2[raw]
    with np.errstate(over="ignore"):
        return raw.astype(np.float32)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """bf16 bits (uint16) nearest to float32 `values`, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    nan = np.isnan(values)
    return np.where(nan, (bits >> 16).astype(np.uint16) | 0x40, rounded) if nan.any() else rounded


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """E4M3 bits (uint8) nearest to float32 `values`, ties to even; beyond 448 it is 448, NaN stays NaN."""
    wide = np.ascontiguousarray(values, np.float32)
    size = np.minimum(np.abs(wide), np.float32(448))
    bits = size.view(np.uint32)
    normal = ((bits + (np.uint32(0x7FFFF) + ((bits >> 20) & 1))) >> 20) - np.uint32((127 - 7) << 3)
    with np.errstate(invalid="ignore"):
        small = np.rint(size * np.float32(512)).astype(np.uint32)  # below 2^-6 the spacing is 2^-9
    code = np.where(size < np.float32(2.0**-6), small, normal)
    code = np.where(np.isnan(size), np.uint32(0x7F), code)
    return (code | ((wide.view(np.uint32) >> 24) & 0x80)).astype(np.uint8)


def _float8(exponent_bits: int, mantissa_bits: int) -> np.ndarray:
    """Values of all 256 bit patterns. Three mantissa bits: no infinity, NaN only where all bits are set (OCP E4M3)."""
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = (code & (2**mantissa_bits - 1)) / 2**mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    value = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))
    if exponent_bits == 4:
        value[(code & 0x7F) == 0x7F] = np.nan
    else:
        top = exponent == 31
        value[top] = np.where(fraction[top] == 0, np.inf, np.nan)
    return (sign * value).astype(np.float32)


_E4M3 = _float8(4, 3)
_E5M2 = _float8(5, 2)
