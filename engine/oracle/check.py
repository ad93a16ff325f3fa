"""The one comparison of a computed array with its oracle, for tests, benchmarks and export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class MismatchError(AssertionError):
    """A result lies outside its error bound."""


@dataclass(frozen=True, slots=True)
class Report:
    """The worst element of a comparison that passed, or of one that did not."""

    name: str
    ratio: float  # largest |got - want| / bound; at most 1 where the check passes
    index: tuple[int, ...]  # where that is; () when there is nothing to compare
    error: float  # |got - want| there
    bound: float  # what was allowed there
    largest: float  # largest |got - want| anywhere

    def __str__(self) -> str:
        return f"{self.name}: error {self.error:.3g} at {self.index} is {self.ratio:.3g} of its bound {self.bound:.3g}"


def check(
    got: np.ndarray, want: np.ndarray, bound: np.ndarray | float, name: str = "result", *, dtype: str = "f32"
) -> Report:
    """Compares `got` with `want` element by element.

    got    any real type; bf16 must be widened before
    want   float64, the exact result
    bound  largest |got - want| allowed; a scalar or an array of want's shape
    dtype  type that `got` was rounded to ("f32", "bf16" or "f16"): a value beyond its range may be infinite

    NaN must be where want has NaN, infinities where want has them, with their sign; there the bound is not looked at.
    Elsewhere a bound that is NaN, infinite or negative is a ValueError, for such a check could not fail.
    Raises MismatchError with name, place, values and the ratio to the bound.
    """
    got, want = np.asarray(got), np.asarray(want, np.float64)
    if got.shape != want.shape:
        raise MismatchError(f"{name}: shape {got.shape}, expected {want.shape}")
    if got.size == 0:
        return Report(name, 0.0, (), 0.0, 0.0, 0.0)
    got = got.astype(np.float64)
    bound = np.broadcast_to(np.asarray(bound, np.float64), want.shape)
    finite = np.isfinite(want)
    if not (np.isfinite(bound) & (bound >= 0))[finite].all():
        raise ValueError(f"{name}: a bound is not a finite number of at least 0")
    _same_specials(name, got, want, finite)
    # A finite exact value so large that its rounding may overflow.
    overflow = finite & np.isinf(got) & (np.sign(got) == np.sign(want)) & (np.abs(want) + bound >= LARGEST[dtype])
    compared = finite & ~overflow
    error = np.where(compared, np.abs(np.where(compared, got, 0) - np.where(compared, want, 0)), 0.0)
    error = np.where(np.isnan(error), np.inf, error)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / np.where(finite, bound, 1.0))
    flat = int(np.argmax(ratio))
    index = tuple(int(i) for i in np.unravel_index(flat, want.shape))
    report = Report(name, float(ratio[index]), index, float(error[index]), float(bound[index]), float(error.max()))
    if not report.ratio <= 1:
        outside = int((ratio > 1).sum())
        raise MismatchError(
            f"{name}{list(index)} is {got[index]:.9g}, expected {want[index]:.9g}: error {report.error:.3g} is "
            f"{report.ratio:.3g} times its bound {report.bound:.3g}; {outside} of {want.size} elements are outside"
        )
    return report


LARGEST = {"f32": float(np.finfo(np.float32).max), "f16": 65504.0, "bf16": float.fromhex("0x1.fep127")}


def _same_specials(name: str, got: np.ndarray, want: np.ndarray, finite: np.ndarray) -> None:
    wrong = ~finite & ~((got == want) | (np.isnan(got) & np.isnan(want)))
    wrong |= finite & np.isnan(got)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise MismatchError(
            f"{name}{list(index)} is {got[index]}, expected {want[index]}; NaN or infinity is out of place in "
            f"{int(wrong.sum())} of {want.size} elements"
        )
