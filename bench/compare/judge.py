"""The verdict on one pair of rows, and on all pairs together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..harness.stats import bootstrap_ratio, effect_p, error_of, holm

LEVEL = 0.05  # chance that any row of the whole comparison is called different though it is not
MARGIN = 0.02  # a smaller difference is nobody's concern
SUSPECT = 0.04  # log ratio, the machine's own drift taken out, from which on a row is measured again if that can be
START = 0.014  # deviation of the log ratio between two starts of one program, where rows are too few to tell
LEAST_TURNS = 4
MANY = 8  # rows from which on their own scatter tells how much starts differ


@dataclass(frozen=True, slots=True)
class Sample:
    """One side of a pair: medians of turns by round, and the machine's own speed beside them (seconds, or None)."""

    turns: dict[int, float]
    compute: float | None = None
    memory: float | None = None

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Sample:
        noise = row["noise"]
        turns = {int(number): value for number, value in row["time"]["turns"].items()}
        compute, memory = (noise.get(f"yardstick_{name}_s", [None])[0] for name in ("compute", "memory"))
        return cls(turns, compute, memory)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` is same, slower, faster, or unknown (too few turns)."""

    identity: str
    kind: str
    ratio: float  # after / before
    p: float  # of "no difference beyond the margin", adjusted for the number of rows
    before: Sample
    after: Sample
    drift: float = 0.0  # log ratio of the machine itself
    rerun: bool = False  # measured again, interleaved: rounds are pairs

    def interval(self) -> tuple[float, float]:
        """95 % interval of the ratio, by bootstrap over turns."""
        if self.kind == "unknown":
            return math.nan, math.nan
        _, low, high = bootstrap_ratio(*sides(self.before, self.after, self.rerun), paired=self.rerun)
        return low, high

    @property
    def suspect(self) -> bool:
        """Worth a second look: called different, or by its looks different though that is not significant."""
        if self.kind in ("same", "unknown"):
            return self.kind == "same" and abs(math.log(self.ratio) - self.drift) > SUSPECT
        return True


def drift_of(before: Sample, after: Sample, memory_bound: bool) -> float:
    """Log ratio by which the machine itself became slower from one file to the other, in the part that binds the row:
    its memory where the row's roof is a memory level, else its clock. 0 where the files do not say."""
    first, second = (before.memory, after.memory) if memory_bound else (before.compute, after.compute)
    return 0.0 if first is None or second is None else math.log(second / first)


def judge(
    identity: str, before: Sample, after: Sample, margin: float = MARGIN, *, paired: bool = False,
    start: float = START, drift: float = 0.0,
) -> Verdict:  # fmt: skip
    """Verdict on one pair by itself; `settle` makes it one of many. `paired` needs both sides of the same rounds."""
    a, b = sides(before, after, paired)
    if min(len(a), len(b)) < LEAST_TURNS:
        return Verdict(identity, "unknown", math.nan, 1.0, before, after)
    ratio = float(np.exp(np.median(np.log(b) - np.log(a)))) if paired else float(np.median(b) / np.median(a))
    effect, p = effect_p(a, b, margin=margin, paired=paired, start=start, drift=drift)
    kind = "same" if p > LEVEL else "slower" if effect > 0 else "faster"
    return Verdict(identity, kind, ratio, p, before, after, drift, paired)


def sides(before: Sample, after: Sample, paired: bool) -> tuple[list[float], list[float]]:
    """Turn medians of both sides; as pairs only those of rounds that both have."""
    if not paired:
        return list(before.turns.values()), list(after.turns.values())
    rounds = sorted(before.turns.keys() & after.turns.keys())
    return [before.turns[number] for number in rounds], [after.turns[number] for number in rounds]


def settle(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Adjust the p-values for the number of rows, so that all calls together are wrong at most at LEVEL."""
    known = [verdict for verdict in verdicts if verdict.kind != "unknown"]
    adjusted = dict(zip(map(id, known), holm([verdict.p for verdict in known]), strict=True))
    return [
        replace(verdict, p=adjusted[id(verdict)], kind="same" if adjusted[id(verdict)] > LEVEL else verdict.kind)
        if id(verdict) in adjusted else verdict
        for verdict in verdicts
    ]  # fmt: skip


def scatter(pairs: Sequence[tuple[Sample, Sample]]) -> float:
    """Standard deviation of the log ratio between two starts of one program, from the rows themselves: their median
    absolute deviation, less what turns explain. START for fewer than MANY rows; never less than half of it.

    Most rows of a comparison did not change; what sets a change apart is that it stands out from the others. A change
    of all rows together leaves the scatter small and is seen in each."""
    known = [sides(*pair, False) for pair in pairs if min(len(side.turns) for side in pair) >= LEAST_TURNS]
    if len(known) < MANY:
        return START
    ratios = np.array([np.log(np.median(after) / np.median(before)) for before, after in known])
    within = float(np.median([error_of(*pair) for pair in known]))
    spread = 1.4826 * float(np.median(np.abs(ratios - np.median(ratios))))
    return max(math.sqrt(max(0.0, spread**2 - within**2)), START / 2)


def judge_all(pairs: dict[str, tuple[Sample, Sample, bool]], margin: float = MARGIN) -> list[Verdict]:
    """Verdicts on the rows of two files: identity -> before, after, whether memory binds the row."""
    start = scatter([(before, after) for before, after, _ in pairs.values()])
    return settle([
        judge(identity, before, after, margin, start=start, drift=drift_of(before, after, memory_bound))
        for identity, (before, after, memory_bound) in pairs.items()
    ])  # fmt: skip
