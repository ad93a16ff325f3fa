"""Roofs of the processor by our C++ probes: the best of several short runs, with how far the median lies below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spar_engine.errors import MissingDependency

from ..harness.environment import cpu

RUN = 0.004  # seconds of one run of a probe: shorter than what a scheduler gives others
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


def best_rate(seconds_of_one: Any, amount: float, runs: int) -> Rate:
    """Rate of `amount` per run of `seconds_of_one()`, after one run to warm up."""
    seconds_of_one()
    seen = sorted(amount / seconds_of_one() for _ in range(runs))
    return Rate(seen[-1], seen[len(seen) // 2])


def peak(index: int, operations: float, threads: int, runs: int) -> Rate:
    """Operations a second of probe `index` on all `threads` together."""
    module = roofs_module()
    trial = 200_000
    quickest = min(module.time_peak(index, trial, threads) for _ in range(TRIALS))
    iterations = max(trial, round(trial * RUN / max(1e-6, quickest)))
    return best_rate(lambda: module.time_peak(index, iterations, threads), operations * iterations * threads, runs)


def peaks(runs: int, independent: bool = False) -> list[dict[str, Any]]:
    """Every instruction set of this machine, on 1 and all threads."""
    found = []
    for index, probe in enumerate(roofs_module().peaks()):
        if probe["independent"] != independent:
            continue
        for threads in thread_counts():
            rate = peak(index, probe["operations"], threads, runs)
            found.append({"isa": probe["isa"], "dtype": probe["dtype"], "threads": threads,
                          "operations_per_s": rate.best, "typical": rate.typical})  # fmt: skip
    return found


def level_bytes(threads: int) -> dict[str, int]:
    """Bytes of all threads together that sit well inside each cache level, and well outside the last one."""
    caches = cpu()["caches"]
    sizes = {level: size * (threads if level != "L3" else 1) // 2 for level, size in sorted(caches.items())}
    last = max(caches.values(), default=32 << 20)
    return sizes | {"DRAM": max(256 << 20, 8 * last)}


def stream(name: str, total: int, threads: int, runs: int) -> Rate:
    module = roofs_module()
    once = min(module.time_stream(name, total, 1, threads) for _ in range(TRIALS))
    repeats = max(1, round(RUN / max(once, 1e-7)))
    return best_rate(lambda: module.time_stream(name, total, repeats, threads), total, runs)


def streams(runs: int) -> list[dict[str, Any]]:
    """Bytes a second (read plus written) at every level, on 1 and all threads."""
    found = []
    for threads in thread_counts():
        for level, total in level_bytes(threads).items():
            for name in ("read", "copy") + (("copy_streaming",) if level == "DRAM" else ()):
                rate = stream(name, total, threads, runs)
                found.append({"level": level, "pass": name, "threads": threads, "bytes": total,
                              "bytes_per_s": rate.best, "typical": rate.typical})  # fmt: skip
    return found


def clock_ghz(runs: int = 9) -> float | None:
    """Core clock under one busy thread; None where the chain of additions is not written for this processor."""
    from spar_engine.errors import BackendError

    iterations = 1_000_000
    try:
        return best_rate(lambda: roofs_module().time_chain(iterations), 8e-9 * iterations, runs).best
    except BackendError:
        return None
