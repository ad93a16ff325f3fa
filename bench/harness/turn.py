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


def take_turn(
    name: str, subject: Subject, oracle: Oracle | None, samples: int, inner: int, cold: bool,
    seeds: tuple[int, ...] = SEEDS,
) -> Turn:  # fmt: skip
    """Time `samples` samples of `inner` calls; the last call is checked against the oracle, from poisoned results.

    One untimed call first wakes thread pools and refills caches (hot) after others had the machine."""
    seed = seeds[next(_nudges) % len(seeds)]
    subject.fill(0, seed, next(_nudges))
    subject.run(0)
    subject.sync()
    taken = []
    collecting = gc.isenabled()
    gc.disable()
    before = snapshot()
    try:
        for sample in range(samples):
            last = sample == samples - 1 and oracle is not None
            for slot in range(inner):
                subject.fill(slot, seed, None if last else next(_nudges))
            if last:
                subject.poison(inner - 1)
            if cold:
                evict()
            start = time.perf_counter_ns()
            for slot in range(inner):
                subject.run(slot)
            subject.sync()
            taken.append((time.perf_counter_ns() - start) / inner)
        load = between(before, snapshot())
    finally:
        if collecting:
            gc.enable()
    if oracle is not None:
        judge(name, oracle, subject.outputs(inner - 1), seed, "in the timed loop")
    return Turn(taken, load)


def settle(limit: float = 0.3) -> None:
    """Wait until this process' thread pools have stopped spinning, at most `limit` seconds: others are timed next."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(0.003)
        if time.process_time() - used < 0.1 * (time.perf_counter() - start):
            return
