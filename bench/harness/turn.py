"""One turn: a few dozen timed calls made together, with what else happened on the machine meanwhile."""

from __future__ import annotations

import gc
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from .flush import evict
from .host import Load, between, snapshot
from .subject import Oracle, Subject
from .verify import SEEDS, judge

SHORT = 200e-6  # seconds: shorter calls are timed several in a row, each on inputs of its own
_nudges = itertools.count()


@dataclass(slots=True)
class Turn:
    """Samples are nanoseconds of one call each."""

    samples: list[float]
    load: Load
    extra: dict[str, Any] = field(default_factory=dict)


def estimate(subject: Subject, seeds: tuple[int, ...] = SEEDS) -> tuple[float, float]:
    """Seconds of one call and of one fill, after warming up: 3 calls and 20 ms, or one call of over a second."""
    calls, start, fastest, filling = 0, time.perf_counter(), float("inf"), float("inf")
    while True:
        before = time.perf_counter()
        subject.fill(0, seeds[calls % len(seeds)], next(_nudges))
        begin = time.perf_counter()
        subject.run(0)
        subject.sync()
        end = time.perf_counter()
        fastest, filling, calls = min(fastest, end - begin), min(filling, begin - before), calls + 1
        if end - start > (1.0 if calls < 3 else 0.02):
            return fastest, filling


def in_a_row(subject: Subject, seconds: float, cold: bool) -> int:
    """Calls per sample: never more than slots, since every call of a sample needs inputs of its own."""
    return 1 if cold else max(1, min(subject.slots, round(SHORT / max(seconds, 1e-9))))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a turn is taken: `samples` samples of `inner` calls; `cold` empties the caches before each; with `wake` an
    untimed call first wakes thread pools and refills caches after others had the machine, which calls so long that it
    does not show go without."""

    samples: int = 1
    inner: int = 1
    cold: bool = False
    wake: bool = True


def take_turn(subject: Subject, plan: Plan, seeds: tuple[int, ...] = SEEDS) -> Turn:
    """Time the calls. No two of them have the same inputs, ever, so nothing kept from an earlier call is of use."""
    seed = seeds[next(_nudges) % len(seeds)]
    if plan.wake:
        subject.fill(0, seed, next(_nudges))
        subject.run(0)
        subject.sync()
    taken = []
    collecting = gc.isenabled()
    gc.disable()
    before = snapshot()
    try:
        for _ in range(plan.samples):
            for slot in range(plan.inner):
                subject.fill(slot, seed, next(_nudges))
            if plan.cold:
                evict()
            start = time.perf_counter_ns()
            for slot in range(plan.inner):
                subject.run(slot)
            subject.sync()
            taken.append((time.perf_counter_ns() - start) / plan.inner)
        load = between(before, snapshot())
    finally:
        if collecting:
            gc.enable()
    return Turn(taken, load, subject.extra())


def audit(name: str, subject: Subject, oracle: Oracle, slot: int, seeds: tuple[int, ...] = SEEDS) -> None:
    """One more call as in the turn before, from poisoned results, held against the oracle."""
    seed = seeds[next(_nudges) % len(seeds)]
    subject.fill(slot, seed)
    subject.poison(slot)
    subject.run(slot)
    subject.sync()
    judge(name, oracle, subject.outputs(slot), seed, "after it was timed")


def settle(limit: float = 0.3) -> None:
    """Wait until this process' thread pools have stopped spinning, at most `limit` seconds: others are timed next."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(0.003)
        if time.process_time() - used < 0.1 * (time.perf_counter() - start):
            return
