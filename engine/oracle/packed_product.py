"""A linear layer with packed weights in float64 (docs/kernels.md), its error bound and example inputs."""

from __future__ import annotations

import numpy as np

from . import bounds

Inputs = dict[str, np.ndarray | int]
GROUP = 32  # values of k that share a scale with 4-bit weights
NONE, SILU, GATED = 0, 1, 2  # `act`
_TIE = 127 * 8 * bounds.UNIT["f32"]  # a quotient of at most 127, some roundings off, may fall to either side of a tie
_FLUSHED = 2.0**-126  # bf16 dot products flush subnormal numbers to zero


def _weights(weight: np.ndarray, dtype: str) -> np.ndarray:
    """What packed weights [columns, depth] stand for, float64; divisions are in float32, as packing does them."""
    wide = np.asarray(weight, np.float32)
    if dtype not in ("int8", "int4"):
        return wide.astype(np.float64)
    columns, depth = wide.shape
    groups = _grouped(wide, depth if dtype == "int8" else GROUP)
    scale, least, most = _column_scale(groups), -127, 127
    if dtype == "int4":
        scale, least, most = _group_scale(groups), -8, 7
    units = np.clip(np.rint(groups / np.where(scale == 0, np.float32(1), scale)), least, most)
    return (units.astype(np.float64) * scale).reshape(columns, -1)[:, :depth]


def _column_scale(columns: np.ndarray) -> np.ndarray:
    largest = np.abs(columns).max(-1, keepdims=True)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1))


def _group_scale(groups: np.ndarray) -> np.ndarray:
    """8.5 units to the longer side, 7.5 to the other, rounded up to bf16; negative where the upper side is longer."""
    above, below = groups.max(-1, keepdims=True).clip(0), (-groups).max(-1, keepdims=True).clip(0)
    size = np.maximum(np.maximum(above, below) / np.float32(8.5), np.minimum(above, below) / np.float32(7.5))
    bits = (size.astype(np.float32).view(np.uint32) + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)
    return np.where(above > below, -bits.view(np.float32), bits.view(np.float32))


def _grouped(values: np.ndarray, size: int) -> np.ndarray:
    """[rows, groups, size], zeros behind the last."""
    rows, width = values.shape
    return np.pad(values, ((0, 0), (0, -width % size))).reshape(rows, -1, size)


def _units(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers within 127 and the value of one unit, each element its own; groups of `size` along the rows."""
    rows, width = values.shape
    groups = _grouped(np.asarray(values, np.float32), size)
    top = np.abs(groups).max(-1, keepdims=True)
    scale = np.where(top > 0, top / np.float32(127), np.float32(1)).astype(np.float64)
    units = np.clip(np.rint(groups / scale), -127, 127)
    flat = (x.reshape(rows, -1)[:, :width] for x in (units, np.broadcast_to(scale, groups.shape)))
    return tuple(flat)


def _activations(x: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """What enters the product, float64, and by how much rounding the other way at a tie would change it."""
    wide = np.asarray(x, np.float64)
    if dtype not in ("int8", "int4"):
        return wide, np.zeros_like(wide)
    units, scale = _units(x, x.shape[1] if dtype == "int8" else GROUP)
    ties = np.abs(np.abs(wide / scale) % 1 - 0.5) < _TIE
    return units * scale, np.where(ties, scale, 0)


def _bounded(inputs: Inputs, dtype: str) -> bounds.Bounded:
    weight = _weights(inputs["weight"], dtype)
    x, ties = _activations(inputs["x"], dtype)
    value, size, depth = x @ weight.T, np.abs(x) @ np.abs(weight).T, x.shape[1]
    if dtype in ("int8", "int4"):
        # Sums of whole numbers are exact up to their conversion; scales, and one fused step a group, round.
        steps = 8 + (-(-depth // GROUP) if dtype == "int4" else 0)
        error = ties @ np.abs(weight).T + bounds.gamma(steps) * (size if dtype == "int4" else np.abs(value))
    else:
        flushed = depth * _FLUSHED * (1 + np.abs(x).max() + np.abs(weight).max())
        error = bounds.gamma(2 * depth) * size + flushed  # a product may be rounded on its own
    total = bounds.add(bounds.Bounded(value, error), bounds.exact(inputs["bias"]))
    act = inputs["act"]
    if act == NONE:
        return total
    if act == SILU:
        return bounds.silu(total)
    gate, up = (
        bounds.Bounded(v, e)
        for v, e in zip(np.split(total.value, 2, axis=-1), np.split(total.error, 2, axis=-1), strict=True)
    )
    return bounds.multiply(bounds.silu(gate), up)


def packed_product(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """act(x weight^T + bias), [rows, columns] float64; with gated SiLU [rows, columns / 2], the first half are gates.

    x       [rows, depth]; with int8 rounded to 127 units a row, with int4 to 127 units a group of 32, as the layer does
    weight  [columns, depth]; with int8 rounded to 127 units a column, with int4 to 16 levels a group of 32
    bias    [columns]
    act     NONE, SILU or GATED
    """
    return _bounded(inputs, dtype).value


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of a result that is stored as float32 (dtype f32) or bf16; sums are float32 in any order."""
    return bounds.rounded(_bounded(inputs, dtype), "f32" if dtype == "f32" else "bf16").error


def random_inputs(rng: np.random.Generator, rows: int, columns: int, depth: int, act: int) -> Inputs:
    """Normal activations and weights whose product has a variance of one, float32."""
    return {
        "x": rng.standard_normal((rows, depth), np.float32),
        "weight": rng.standard_normal((columns, depth), np.float32) * np.float32(depth**-0.5),
        "bias": np.float32(0.1) * rng.standard_normal(columns, np.float32),
        "act": act,
    }
