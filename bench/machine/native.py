"""Roofs of the processor by our C++ probes: the best of several short runs, with how far the median lies below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import MissingDependency

from ..harness.environment import cpu
from ..harness.turn import settle

RUN = 0.004  # seconds of one run of a probe: shorter than what a scheduler gives others
TURN = 5  # runs of a probe in a row
TRIALS = 5  # short ones, to find how often a probe repeats within a run
SLACK = 0.10  # a median run this much below the best one: somebody else was there


@dataclass(frozen=True, slots=True)
class Rate:
    """The best run and how much slower the middle one was."""

    best: float  # operations or bytes a second
    typical: float

    @property
    def steady(self) -> bool:
        return self.typical >= (1 - SLACK) * self.best


@dataclass(frozen=True, slots=True)
class Probe:
    """`what` its row says, the `amount` of operations or bytes of one run, the `seconds()` that a run took."""

    what: dict[str, Any]
    amount: float
    seconds: Callable[[], float]


def take_turns(probes: Iterable[Probe], runs: int) -> list[Rate]:
    """The rate of each probe over `runs` runs in turns of a few, each turn after one run to warm up.

    A host may put two virtual processors on one core for some seconds, which no counter here shows. In turns
    that spoils a few turns of every probe; one after the other it would spoil one probe altogether."""
    probes = list(probes)
    seen = [[] for _ in probes]
    for begin in range(0, runs, TURN):
        for rates, probe in zip(seen, probes, strict=True):
            settle()
            probe.seconds()
            rates.extend(probe.amount / probe.seconds() for _ in range(min(TURN, runs - begin)))
    return [Rate(max(rates), sorted(rates)[len(rates) // 2]) for rates in seen]


def roofs_module() -> Any:
    """The native probes, or a MissingDependency with the remedy."""
    try:
        from spar_engine._native import roofs
    except ImportError:
        raise MissingDependency("roofs need the native module with its probes; build it: pip install -e .") from None
    return roofs


def thread_counts() -> list[int]:
    """1 and all."""
    return sorted({1, cpu()["cores"]})


def peak(index: int, operations: float, threads: int, what: dict[str, Any]) -> Probe:
    """Operations a second of native probe `index` on all `threads` together."""
    module = roofs_module()
    trial = 200_000
    quickest = min(module.time_peak(index, trial, threads) for _ in range(TRIALS))
    iterations = max(trial, round(trial * RUN / max(1e-6, quickest)))
    return Probe(what, operations * iterations * threads, lambda: module.time_peak(index, iterations, threads))


def peaks(independent: bool = False) -> list[Probe]:
    """Every instruction set of this machine, on 1 and all threads."""
    return [
        peak(index, probe["operations"], threads,
             {"isa": probe["isa"], "dtype": probe["dtype"], "threads": threads})
        for index, probe in enumerate(roofs_module().peaks())
        if probe["independent"] == independent
        for threads in thread_counts()
    ]  # fmt: skip


def level_bytes(threads: int) -> dict[str, int]:
    """Bytes of all threads together that sit well inside each cache level, and well outside the last one."""
    caches = cpu()["caches"]
    sizes = {level: size * (threads if level != "L3" else 1) // 2 for level, size in sorted(caches.items())}
    last = max(caches.values(), default=32 << 20)
    return sizes | {"DRAM": max(256 << 20, 8 * last)}


def stream(name: str, total: int, threads: int, what: dict[str, Any]) -> Probe:
    """Bytes a second (read plus written) of passes over `total` bytes of all `threads` together."""
    module = roofs_module()
    once = min(module.time_stream(name, total, 1, threads) for _ in range(TRIALS))
    repeats = max(1, round(RUN / max(once, 1e-7)))
    return Probe(what, total, lambda: module.time_stream(name, total, repeats, threads))


def streams() -> list[Probe]:
    """Every level of memory, on 1 and all threads."""
    return [
        stream(name, total, threads, {"level": level, "pass": name, "threads": threads, "bytes": total})
        for threads in thread_counts()
        for level, total in level_bytes(threads).items()
        for name in ("read", "copy") + (("copy_streaming",) if level == "DRAM" else ())
    ]


def clock_ghz(runs: int = 9) -> float | None:
    """Core clock under one busy thread; None where the chain of additions is not written for this processor."""
    from spar_engine.errors import BackendError

    iterations = 1_000_000
    try:
        chain = Probe({}, 8e-9 * iterations, lambda: roofs_module().time_chain(iterations))
        return take_turns([chain], runs)[0].best
    except BackendError:
        return None
