"""Holds the outputs of one component against the kept float64 reference."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..harness.subject import Arrays, BenchError, OutputError
from .works import Work, inputs_of

UNIT = {"fp32": 2.0**-24, "bf16": 2.0**-8}
OURS, PEERS = 2.0, 8.0  # times the error of plain torch in the same precision
SANE = {"int8": 0.5, "int4": 0.75}  # relative error up to which it is still a result; no bound is known for these


class ComponentOracle:
    """Ours may lose twice what plain torch loses in the same precision, plus one unit of the largest output (house
    style, section 6); a peer, whose accuracy is not ours to bound, eight times. int8 and
    int4 are held against a sanity bound."""

    def __init__(self, config: Any, work: Work, path: str, precision: str, ours: bool):
        self.config, self.work, self.path, self.precision = config, work, path, precision
        self.factor = OURS if ours else PEERS
        self.tolerance = (
            f"{self.factor:g} times plain torch's {precision} error and one unit of the largest output"
            if precision not in SANE else f"relative error {SANE[precision]:g}"
        )  # fmt: skip

    @cached_property
    def _held(self) -> dict[str, np.ndarray]:
        with np.load(self.path) as held:
            return {name: held[name] for name in held.files}

    def inputs(self, seed: int) -> Arrays:
        """What changes between calls: the floats."""
        inputs, earlier = inputs_of(self.config, self.work, seed)
        return {name: value for name, value in (earlier | inputs).items()
                if value.dtype.kind == "f" and value.size}  # fmt: skip

    def expected(self, seed: int) -> Arrays:
        prefix = f"want/{seed}/"
        return {name.removeprefix(prefix): value for name, value in self._held.items() if name.startswith(prefix)}

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        return {name: self._error(name, outputs, want) for name, want in self.expected(seed).items()}

    def _error(self, name: str, outputs: Arrays, want: np.ndarray) -> OutputError:
        if name not in outputs or outputs[name].shape != want.shape:
            found = outputs[name].shape if name in outputs else "nothing"
            raise BenchError(f"{self.work.name}: output `{name}` is {found}, expected {want.shape}")
        error = np.abs(outputs[name].astype(np.float64) - want)
        error = np.where(np.isnan(error), np.inf, error)
        largest, whole = float(error.max()), float(np.linalg.norm(want))
        relative = float(np.linalg.norm(error)) / whole if np.isfinite(largest) else float("inf")
        if self.precision in SANE:
            return OutputError(largest, relative, relative / SANE[self.precision])
        plain = float(self._held[f"plain/{self.precision}/{name}"][0])
        allowed = self.factor * plain + 2 * UNIT[self.precision] * float(np.abs(want).max())
        where = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
        return OutputError(largest, relative, largest / allowed, f"the worst is at {where}")
