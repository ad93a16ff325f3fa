"""One tensor against its golden value, with the tolerance that the golden directory states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Share of a picture's 8-bit values that may move by one step: a few, even where none moved between the original's runs.
CHANGED = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """Outcome of one tensor."""

    file: str
    tensor: str
    passed: bool
    error: float | None  # largest error in the measure named by `measure`; None: not produced
    tolerance: float | None
    measure: str  # "absolute", "relative rms", "exact", "steps"
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _valid(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return array if mask is None else array[mask.astype(bool)]


def relative_rms(got: np.ndarray, want: np.ndarray) -> float:
    """Root mean square of the difference over that of `want`."""
    difference = got.astype(np.float64) - want
    return float(np.sqrt(np.mean(difference**2)) / max(np.sqrt(np.mean(want.astype(np.float64) ** 2)), 1e-30))


def compare(
    file: str,
    tensor: str,
    got: np.ndarray | None,
    want: np.ndarray,
    entry: dict[str, Any],
    mask: np.ndarray | None,
    reduced: Callable[[], float] | None,
) -> Row:
    """Judge one tensor.

    entry    its record in tolerances.json
    mask     rows that mean something, or None for all
    reduced  None in fp32; else gives the relative rms that is as accurate as the original's bfloat16
    """
    if got is None:
        return Row(file, tensor, False, None, None, "absolute", "not produced by this backend")
    if got.shape != want.shape:
        return Row(file, tensor, False, None, None, "absolute", f"shape {got.shape}, expected {want.shape}")
    got, want = _valid(got, mask), _valid(want, mask)
    if want.dtype.kind in "iu" and want.dtype != np.uint8:
        wrong = int(np.count_nonzero(got != want))
        return Row(file, tensor, wrong == 0, float(wrong), 0.0, "exact", f"{wrong} differ" if wrong else "")
    if not np.array_equal(np.isfinite(got), np.isfinite(want)):
        return Row(file, tensor, False, float("inf"), None, "absolute", "not finite where the golden value is")
    if reduced is not None:
        error, allowed = relative_rms(got, want), reduced()
        return Row(file, tensor, error <= allowed, error, allowed, "relative rms")
    if want.dtype == np.uint8:
        steps = np.abs(got.astype(np.int16) - want.astype(np.int16))
        changed = float(np.mean(steps > 0))
        most, share = entry.get("max_steps", 1), max(10 * entry.get("changed", 0.0), CHANGED)
        return Row(
            file,
            tensor,
            bool(steps.max() <= most and changed <= share),
            float(steps.max()),
            float(most),
            "steps",
            f"{changed:.2e} of the values moved, {share:.2e} may",
        )
    difference = np.abs(got.astype(np.float64) - want)
    error = float(difference.max()) if difference.size else 0.0
    worst = np.unravel_index(int(difference.argmax()), difference.shape) if difference.size else ()
    passed = error <= entry["atol"]
    detail = "" if passed else f"worst at {tuple(int(index) for index in worst)}"
    return Row(file, tensor, passed, error, float(entry["atol"]), "absolute", detail)


def compare_tokens(file: str, tensor: str, got: np.ndarray, want: np.ndarray, logits: np.ndarray, limit: float) -> Row:
    """Judge greedy tokens [batch, tokens] of a reduced precision, each chosen after the golden ones before it.

    Another token is as good where the golden logits [batch, tokens, vocabulary] of the two lie within four times the
    rms error that the precision may make: rounding decides such a tie.
    """
    if got.shape != want.shape:
        return Row(file, tensor, False, None, None, "exact", f"shape {got.shape}, expected {want.shape}")
    allowed = 4 * limit * float(np.sqrt(np.mean(logits.astype(np.float64) ** 2)))
    best = np.take_along_axis(logits, want[..., None], axis=-1)
    gap = float((best - np.take_along_axis(logits, got[..., None], axis=-1)).max(initial=0.0))
    return Row(file, tensor, gap <= allowed, gap, allowed, "logit gap", f"{np.count_nonzero(got != want)} differ")
