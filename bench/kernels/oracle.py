"""Exact results and what is allowed beside them, computed once a run and shared by all workers through a folder."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from spar_engine.oracle.bounds import TINY, UNIT

from ..harness.subject import Arrays, BenchError, OutputError
from .case import Work, widen

OURS = 8.0  # roundings of a sum of n terms add up like a random walk: 8 sqrt(n) units, Higham & Mary 2019, section 2
SPREAD = 8.0  # deviations of the roundings within, which none of a million elements exceeds
PEER = 16.0  # units of the row's dtype that a library may lose by rounding between its steps
# An int8 unit is half of a step of 1/127 of the largest; rounding of weights and activations differs between libraries.
PEER_UNIT = UNIT | {"int8": 2.0**-8}


class WorkOracle:
    """Float64 truth of one `Work`.

    folder  where results are kept for the other workers of this run
    ours    True holds results against float32 accumulation and one rounding to the dtype at the end: the smaller of the
            op's derived bound and 8 sqrt(terms) float32 units of the largest result, plus that rounding, plus 8
            deviations where the case knows those of roundings within; the derived bound alone where the op itself
            rounds between its steps. False is for libraries that round between
            theirs: 16 units of the dtype, of the largest result.
    """

    def __init__(self, work: Work, folder: str | Path, ours: bool):
        self.work, self.folder, self.ours = work, Path(folder), ours
        self.tolerance = (
            ("derived bound" if work.dtype in work.case.inside
             else "derived bound and 8 sqrt(terms) float32 units, plus one rounding to the dtype") if ours
            else f"{PEER:g} units of the dtype at the largest result"
        )  # fmt: skip

    def inputs(self, seed: int) -> Arrays:
        return {name: widen(value) for name, value in self.work.changing(seed).items()}

    def expected(self, seed: int) -> Arrays:
        return {"out": self._known(seed)[0]}

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        want, derived, spread = self._known(seed)
        got = np.asarray(outputs["out"], np.float64)
        if got.shape != want.shape:
            raise BenchError(f"{self.work.case.op}: the result has shape {got.shape}, expected {want.shape}")
        error = np.abs(got - want)
        error = np.where(np.isnan(error), np.inf, error)
        share = error / self._allowed(want, derived, spread)
        worst = np.unravel_index(int(np.argmax(share)), share.shape)
        wrong = int((share > 1).sum())
        detail = f"{wrong} of {want.size} elements, the worst at {tuple(map(int, worst))}" if wrong else ""
        largest = float(error.max())
        rel = float(np.linalg.norm(error) / np.linalg.norm(want)) if np.isfinite(largest) else float("inf")
        return {"out": OutputError(largest, rel, float(share[worst]), detail)}

    def _allowed(self, want: np.ndarray, derived: np.ndarray, spread: np.ndarray) -> np.ndarray:
        dtype, stored, largest = self.work.dtype, self.work.result_dtype, float(np.abs(want).max())
        terms = self.work.case.terms(**self.work.case.sizes(self.work.shape))
        walk = OURS * np.sqrt(terms) * UNIT["f32"] * largest
        if not self.ours:
            return np.full_like(want, PEER * PEER_UNIT[dtype] * largest if dtype != "f32" else 2 * walk)
        if dtype in self.work.case.inside:
            return derived
        return np.minimum(derived, walk + UNIT[stored] * np.abs(want) + TINY[stored]) + SPREAD * spread

    def _known(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = self.work.shape.sizes
        return _known(self.work.case.op, shape, self.work.dtype, seed, str(self.folder), self._compute)

    def _compute(self, seed: int) -> tuple[np.ndarray, ...]:
        inputs, case = self.work.wide(seed), self.work.case
        return tuple(np.asarray(find(inputs, self.work.dtype)) for find in (case.expected, case.bound, case.spread))


@lru_cache(maxsize=8)
def _kept(path: str) -> tuple[np.ndarray, ...]:
    with np.load(path) as held:
        return tuple(held[name] for name in ("want", "bound", "spread"))


def _known(op, sizes, dtype, seed, folder, compute) -> tuple[np.ndarray, ...]:
    key = hashlib.sha256(json.dumps([op, sizes, dtype, seed]).encode()).hexdigest()[:24]
    path = Path(folder) / f"{key}.npz"
    if not path.exists():
        want, bound, spread = compute(seed)
        aside = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(aside, want=want, bound=bound, spread=spread)
        os.replace(aside, path)
    return _kept(str(path))
