"""The verdict on one pair of rows, and on all pairs together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..harness.stats import bootstrap_ratio, effect_p, holm

LEVEL = 0.05  # chance that any row of the whole comparison is called different though it is not
MARGIN = 0.03  # a difference smaller than this is what two starts of one program differ by
LEAST_TURNS = 4


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
    low: float  # 95 % interval of the ratio, bootstrap over turns
    high: float
    p: float  # of "no difference beyond the margin", adjusted for the number of rows
    margin: float  # share that had to be exceeded
    rerun: bool = False  # measured again, interleaved

    @property
    def suspect(self) -> bool:
        """Worth a second look: called different, or beyond the margin without being significant."""
        return self.kind != "unknown" and (self.kind != "same" or abs(math.log(self.ratio)) > math.log1p(self.margin))


def margin_of(before: Sample, after: Sample, memory_bound: bool, margin: float = MARGIN) -> float:
    """The margin, widened by how much the machine's own speed differs between the two files.

    The part of the machine that binds the row counts: its clock, or its memory where the row's roof is a memory level.
    """
    first, second = (before.memory, after.memory) if memory_bound else (before.compute, after.compute)
    drift = 0.0 if first is None or second is None else abs(math.log(second / first))
    return math.expm1(math.log1p(margin) + drift)


def judge(identity: str, before: Sample, after: Sample, margin: float, *, paired: bool = False) -> Verdict:
    """Verdict on one pair by itself; `settle` makes it one of many. `paired` needs both sides of the same rounds."""
    if paired:
        rounds = sorted(before.turns.keys() & after.turns.keys())
        a, b = [before.turns[number] for number in rounds], [after.turns[number] for number in rounds]
    else:
        a, b = list(before.turns.values()), list(after.turns.values())
    if min(len(a), len(b)) < LEAST_TURNS:
        return Verdict(identity, "unknown", math.nan, math.nan, math.nan, 1.0, margin)
    ratio, low, high = bootstrap_ratio(a, b, paired=paired)
    effect, p = effect_p(a, b, margin=margin, paired=paired)
    kind = "same" if p > LEVEL else "slower" if effect > 0 else "faster"
    return Verdict(identity, kind, ratio, low, high, p, margin, rerun=paired)


def settle(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Adjust the p-values for the number of rows, so that all calls together are wrong at most at LEVEL."""
    known = [verdict for verdict in verdicts if verdict.kind != "unknown"]
    adjusted = dict(zip((id(verdict) for verdict in known), holm([verdict.p for verdict in known]), strict=True))
    return [
        replace(verdict, p=adjusted[id(verdict)], kind="same" if adjusted[id(verdict)] > LEVEL else verdict.kind)
        if id(verdict) in adjusted else verdict
        for verdict in verdicts
    ]  # fmt: skip
