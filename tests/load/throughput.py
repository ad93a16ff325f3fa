"""Throughput of four requests at once beside the same one after another, and what the scheduler costs a lone one.

    python tests/load/throughput.py --json throughput.json

Two criteria, each from rounds in which both sides have their turn, in changing order:

  throughput  requests done a second with `--at-once` clients over those done by one client: at least 1.2
  lone        median time of a request that nobody is beside of, through the engine over the same pipeline driven
              without a scheduler: at most 1.3

The round's ratio is what counts: its median over the rounds, with the interval of `spar_bench.harness.stats` beside it.
Caches are emptied before each side, so that both do the same work. Every result must be the bits of the first one. A
machine on which others used more than 0.05 CPUs, or whose host took more than 0.01, is told in `disturbed`, and fails
the run unless `--accept-noise` is given. Exit code 1 when a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import spar_engine
from load import TASKS, Work, call, digest, requests
from spar_bench.harness.environment import environment
from spar_bench.harness.host import Load, between, snapshot
from spar_bench.harness.policy import KERNELS
from spar_bench.harness.stats import median_interval
from spar_engine.pipelines.call import run as drive
from spar_engine.runtime.assemble import DEFAULT

THROUGHPUT, LONE = 1.2, 1.3


@contextlib.contextmanager
def unscheduled(engine: Any) -> Iterator[None]:
    """Pipelines are driven by who asks, and their runs go straight to the backend."""
    engine._scheduler.drive = lambda request, work, offers=(): drive(work, engine.backend.run)
    try:
        yield
    finally:
        del engine._scheduler.drive


class Sides:
    """The sides of a round: each does the whole list of requests, from empty caches."""

    def __init__(self, engine: Any, work: Work, at_once: int):
        self.engine, self.work, self.at_once = engine, work, at_once
        self.wrong: list[str] = []

    def one(self, number: int) -> float:
        """Seconds of one request."""
        task, given = self.work.listed[number]
        begin = time.perf_counter()
        found = call(self.engine, task, given)
        seconds = time.perf_counter() - begin
        if digest(found) != self.work.wanted[number]:
            self.wrong.append(f"{task} {number}")
        return seconds

    def _each(self, clients: int) -> tuple[float, list[float]]:
        """Seconds of all requests by so many clients, and of each."""
        self.engine._parts.clear()
        self.one(0)  # what all requests share
        begin = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            seconds = list(pool.map(self.one, range(1, len(self.work.listed))))
        return time.perf_counter() - begin, seconds

    def sequential(self) -> tuple[float, list[float]]:
        return self._each(1)

    def concurrent(self) -> tuple[float, list[float]]:
        return self._each(self.at_once)

    def unscheduled(self) -> tuple[float, list[float]]:
        with unscheduled(self.engine):
            return self._each(1)


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Median of the rounds' ratios and its interval; null where rounds are too few for one."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    low, high = median_interval(each) if len(each) >= KERNELS.least_samples else (None, None)
    return {"ratio": float(np.median(each)), "low": low, "high": high, "rounds": each}


def steps_of(engine: Any) -> dict[str, int]:
    """Runs of the DiT so far, and the sampler steps that they served."""
    counted = engine.metrics()["components"].get("dit", {"runs": 0, "calls": 0})
    return {key: counted[key] for key in ("runs", "calls")}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {"backend": arguments.backend, "max_batch": arguments.max_batch}
    if arguments.threads:
        options["threads"] = arguments.threads
    if arguments.precision:
        options["precision"] = arguments.precision
    tasks = arguments.tasks.split(",")
    listed = [each for each in requests(arguments.requests + 1, arguments.steps) if each[0] in tasks]
    with spar_engine.load(arguments.model, **options) as engine:
        wanted = [digest(call(engine, task, given)) for task, given in listed]
        sides = Sides(engine, Work(listed, wanted), arguments.at_once)
        kinds: dict[str, Callable[[], tuple[float, list[float]]]] = {
            "sequential": sides.sequential, "concurrent": sides.concurrent, "unscheduled": sides.unscheduled,
        }  # fmt: skip
        for side in kinds.values():
            side()  # threads, arenas, clocks
        total: dict[str, list[float]] = {name: [] for name in kinds}
        median: dict[str, list[float]] = {name: [] for name in kinds}
        order, load, joined = np.random.default_rng(0), Load(), {"runs": 0, "calls": 0}
        for _ in range(arguments.rounds):
            for name in order.permutation(list(kinds)):
                begin, before = snapshot(), steps_of(engine)
                seconds, each = kinds[name]()
                load.add(between(begin, snapshot()))
                if name == "concurrent":
                    joined = {key: joined[key] + count - before[key] for key, count in steps_of(engine).items()}
                total[name].append(seconds)
                median[name].append(float(np.median(each)))
        about, threads = engine.about, getattr(engine.backend, "threads", None)
    throughput = ratios(total["sequential"], total["concurrent"])
    lone = ratios(median["sequential"], median["unscheduled"])
    done = len(listed) - 1
    disturbed = [
        f"{what} {load.share(kind):.2f} CPUs"
        for kind, what, most in (("foreign", "others used", KERNELS.foreign), ("steal", "the host took", KERNELS.steal))
        if load.share(kind) > most
    ]
    checks = {
        "results are those of the same request alone": not sides.wrong,
        f"throughput of {arguments.at_once} is at least {THROUGHPUT}": throughput["ratio"] >= THROUGHPUT,
        f"a lone request takes at most {LONE} of its time without a scheduler": lone["ratio"] <= LONE,
    }
    if not arguments.accept_noise:
        checks["nothing disturbed the machine"] = not disturbed
    return {
        "model": str(arguments.model), "backend": about["backend"], "precision": about["precision"], "threads": threads,
        "tasks": tasks, "requests": done, "at_once": arguments.at_once, "steps": arguments.steps,
        "max_batch": arguments.max_batch,
        "per_second": {name: done / float(np.median(seconds)) for name, seconds in total.items()},
        "p50_s": {name: float(np.median(seconds)) for name, seconds in median.items()},
        "throughput": throughput, "lone": lone,
        "steps_per_run": joined["calls"] / joined["runs"] if joined["runs"] else None,
        "wrong": sides.wrong[:20], "disturbed": disturbed, "environment": environment(),
        "checks": checks, "passed": all(checks.values()),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Throughput of requests at once, and the cost of the scheduler.")
    parser.add_argument("--model", default=DEFAULT, help="checkpoint or bundled model (%(default)s)")
    parser.add_argument("--backend", default="native")
    parser.add_argument("--precision", help="of the backend (default: its own choice)")
    parser.add_argument("--threads", type=int, help="of the backend (default: its own choice)")
    parser.add_argument("--tasks", default="generate", help=f"comma-separated, of {', '.join(TASKS)} (%(default)s)")
    parser.add_argument("--requests", type=int, default=8, help="of each task in a round (%(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="clients (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="sampler steps (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="with fewer than 6 there is no interval (%(default)s)")
    parser.add_argument("--max-batch", type=int, default=4, help="of the engine (%(default)s)")
    parser.add_argument("--accept-noise", action="store_true", help="judge a disturbed machine too")
    parser.add_argument("--json", type=Path, help="write the report there as well")
    arguments = parser.parse_args()
    found = run(arguments)
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
