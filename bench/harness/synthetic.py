"""A small real kernel, and copies of it that cheat: the harness must tell them apart (`spar-bench selftest`, tests)."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from spar_engine.errors import InputError

from .subject import Arrays, OutputError, Subject, nudged

ROWS, WIDTH = 192, 1024
LATE = 0.03  # seconds: on a busy machine the caller may itself lose the processor for some milliseconds
SABOTAGE = ("wrong-element", "half-work", "kept-by-address", "kept-by-content", "asynchronous")


class ScaleOracle:
    """y = tanh(x) * w, row by row; `flat` gives the constant zero input that hides everything."""

    tolerance = "4 float32 roundings of the exact result"

    def __init__(self, flat: bool = False):
        self.flat = flat
        self.weight = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)

    def inputs(self, seed: int) -> Arrays:
        if self.flat:
            return {"x": np.zeros((ROWS, WIDTH), np.float32)}
        return {"x": np.random.default_rng(seed).standard_normal((ROWS, WIDTH), dtype=np.float32)}

    def expected(self, seed: int) -> Arrays:
        return {"y": np.tanh(self.inputs(seed)["x"].astype(np.float64)) * self.weight}

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        want = self.expected(seed)["y"]
        error = np.abs(outputs["y"] - want)
        error = np.where(np.isnan(error), np.inf, error)
        share = float((error / (4 * 2.0**-24 * np.abs(want) + 1e-30)).max())
        return {"y": OutputError(float(error.max()), float(np.linalg.norm(error) / np.linalg.norm(want)), share)}


class Scale(Subject):
    """The kernel in numpy, in blocks of rows. `extra_work` repeats that share of the rows: a true slowdown."""

    def __init__(self, oracle: ScaleOracle, extra_work: float = 0.0, slots: int = 1):
        self.oracle, self.slots = oracle, slots
        self.seeds = {seed: oracle.inputs(seed)["x"] for seed in (0, 1)}
        self.x = [np.zeros((ROWS, WIDTH), np.float32) for _ in range(slots)]
        self.y = [np.zeros((ROWS, WIDTH), np.float32) for _ in range(slots)]
        self.rows = list(range(ROWS)) + list(range(round(extra_work * ROWS)))

    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        self.x[slot][:] = self.seeds[seed]
        if nudge is not None:
            nudged(self.seeds[seed].reshape(-1), self.x[slot].reshape(-1), nudge)

    def run(self, slot: int) -> None:
        x, y = self.x[slot], self.y[slot]
        for row in self.rows:
            np.tanh(x[row], out=y[row])
            y[row] *= self.oracle.weight

    def live(self, slot: int) -> Arrays:
        return {"y": self.y[slot]}

    def outputs(self, slot: int) -> Arrays:
        return {"y": self.y[slot].copy()}


class WrongElement(Scale):
    def run(self, slot: int) -> None:
        super().run(slot)
        self.y[slot][ROWS // 2, 7] *= 1.001


class HalfWork(Scale):
    """Computes the upper half only; what an earlier call left below would pass for an answer."""

    def run(self, slot: int) -> None:
        for row in range(ROWS // 2):
            np.tanh(self.x[slot][row], out=self.y[slot][row])
            self.y[slot][row] *= self.oracle.weight


class KeptByAddress(Scale):
    """Believes that the same buffer holds the same numbers."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.kept: dict[int, np.ndarray] = {}

    def run(self, slot: int) -> None:
        key = self.x[slot].ctypes.data
        if key not in self.kept:
            super().run(slot)
            self.kept[key] = self.y[slot].copy()
        self.y[slot][:] = self.kept[key]


class KeptByContent(Scale):
    """Recognises numbers it has seen: always right, and fast only where inputs come again."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.kept: dict[bytes, np.ndarray] = {}
        self.hits = 0

    def run(self, slot: int) -> None:
        key = hashlib.blake2b(self.x[slot].tobytes()).digest()
        if key in self.kept:
            self.hits += 1
        else:
            super().run(slot)
            if len(self.kept) < 64:
                self.kept[key] = self.y[slot].copy()
            return
        self.y[slot][:] = self.kept[key]


class Asynchronous(Scale):
    """Starts a thread and returns; the clock stops before the work does."""

    def run(self, slot: int) -> None:
        def work() -> None:
            time.sleep(LATE)
            Scale.run(self, slot)

        threading.Thread(target=work).start()


KINDS = {
    "honest": Scale, "wrong-element": WrongElement, "half-work": HalfWork, "kept-by-address": KeptByAddress,
    "kept-by-content": KeptByContent, "asynchronous": Asynchronous,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """What every `open_subject` returns."""

    subject: Subject
    oracle: Any
    about: dict[str, Any]


def open_subject(spec: dict[str, Any]) -> Opened:
    """`variant` (one of KINDS) and `extra_work`, a share of the rows done twice."""
    if spec["variant"] not in KINDS:
        raise InputError(f"synthetic variant {spec['variant']!r} is unknown; there are {sorted(KINDS)}")
    oracle = ScaleOracle()
    return Opened(KINDS[spec["variant"]](oracle, extra_work=spec.get("extra_work", 0.0)), oracle, {})
