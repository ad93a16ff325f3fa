"""Load test: many clients, mixed tasks, random cancels and disconnects, against one engine and its server on loopback.

    python tests/load/load.py --model CHECKPOINT --seconds 300 --json load.json

Half of the clients use the Python interface (cancel by Event, deadlines, streams that are dropped), half HTTP (the
connection is closed). Every request is one of a fixed list, whose results were computed alone before, without caches.

Checked: no error that is not a documented refusal; every completed result is the bits of the same request alone; memory
grows by less than 2 % after the first fifth of the time; for every task p99 of the completed requests is at most four
times p50. `--quick` leaves the last two out: ten seconds are too short for them. Exit code 1 when a check fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import spar_engine
from http_client import HttpClient, serving
from spar_bench.harness.environment import environment
from spar_bench.harness.host import Load, between, snapshot
from spar_engine.errors import Busy, Cancelled, DeadlineExceeded

TASKS = ("generate", "edit", "segment", "reconstruct", "ask")
GROWTH, RATIO = 0.02, 4.0
REFUSALS = (Busy, Cancelled, DeadlineExceeded)


def digest(value: Any) -> str:
    data = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return hashlib.sha256(data).hexdigest()


def requests(count: int, steps: int) -> list[tuple[str, dict[str, Any]]]:
    """The fixed list: task and options, the same for both kinds of client."""
    rng, made = np.random.default_rng(5), []
    pictures = [np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(3)]
    for number in range(count):
        picture, drawing = pictures[number % 3], {"num_inference_steps": steps, "seed": number}
        text = f"picture number {number}" + " of a boat" * (number % 4)
        for task, given in (
            ("generate", {"prompt": text, "guidance_scale": (4.5, 1.0, 7.0)[number % 3]} | drawing),
            ("edit", {"image": picture, "prompt": text} | drawing),
            ("segment", {"image": picture} | drawing),
            ("reconstruct", {"image": picture}),
            ("ask", {"image": picture if number % 2 else None, "question": text, "max_new_tokens": 8}),
        ):
            made.append((task, given))
    return made


def call(engine: Any, task: str, given: dict[str, Any], stop: Any = None, deadline: float | None = None) -> Any:
    """A request through the Python interface; what it gives, for `digest`."""
    given, terms = dict(given), {"cancel": stop, "deadline": deadline}
    if task == "ask":
        image, question = given.pop("image"), given.pop("question")
        if stop is None:
            return engine.ask(image, question, **given, **terms).text
        return "".join(engine.ask(image, question, stream=True, **given, **terms))
    if task == "edit":
        return engine.edit(given.pop("image"), given.pop("prompt"), **given, **terms).pictures[0].pixels
    if task == "segment":
        return engine.segment(given.pop("image"), **given, **terms).picture.pixels
    if task == "reconstruct":
        return engine.reconstruct(given.pop("image"), **terms).pictures[0].pixels
    return engine.generate(**given, **terms).pictures[0].pixels


class Work(NamedTuple):
    """The list of requests, and the digest of what each gives alone."""

    listed: list[tuple[str, dict[str, Any]]]
    wanted: list[str]


class Record:
    """What happened, from all clients."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = {task: [] for task in TASKS}
        self.outcomes: dict[str, int] = {}
        self.wrong: list[str] = []
        self.undocumented: list[str] = []

    def count(self, outcome: str) -> None:
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def attempt(engine: Any, http: HttpClient | None, task: str, given: dict[str, Any], leave: float | None, late: bool):
    """One request; with `leave` its client gives it up after so many seconds, or has a deadline then."""
    if http is not None:
        return http.call(task, given, leave)
    if leave is None:
        return call(engine, task, given)
    if late:
        return call(engine, task, given, deadline=leave + 1e-3)
    stop = threading.Event()
    timer = threading.Timer(leave, stop.set)
    timer.start()
    try:
        return call(engine, task, given, stop)
    finally:
        timer.cancel()


def client(engine: Any, http: HttpClient | None, number: int, work: Work, record: Record, end: float) -> None:
    """One client until `end`, then its last request is finished."""
    rng = np.random.default_rng(number)
    while time.monotonic() < end:
        index = int(rng.integers(len(work.listed)))
        task, given = work.listed[index]
        leave = float(rng.exponential(0.3)) if rng.random() < 0.2 else None
        begin = time.monotonic()
        try:
            found = attempt(engine, http, task, given, leave, late=rng.random() < 0.5)
        except REFUSALS as refusal:
            record.count(type(refusal).__name__)
            time.sleep(0.05 if isinstance(refusal, Busy) else 0)
        except Exception as error:
            with record.lock:
                record.undocumented.append(f"{task}: {type(error).__name__}: {error}")
        else:
            record.count("completed")
            with record.lock:
                record.seconds[task].append(time.monotonic() - begin)
                if digest(found) != work.wanted[index]:
                    record.wrong.append(f"{task} {index}")


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {"backend": arguments.backend, "max_running": 8, "max_waiting": 4}
    if arguments.threads:
        options["threads"] = arguments.threads
    listed = requests(arguments.pool, arguments.steps)
    with spar_engine.load(arguments.model, cache_bytes=0, **options) as engine:
        wanted = [digest(call(engine, task, given)) for task, given in listed]
    work, record, memory = Work(listed, wanted), Record(), []
    with spar_engine.load(arguments.model, cache_bytes=32 << 20, **options) as engine, serving(engine) as url:
        engine.warmup()
        begin, before = time.monotonic(), snapshot()
        end = begin + arguments.seconds
        threads = []
        for number in range(arguments.clients):
            http = HttpClient(url) if number % 2 else None
            threads.append(threading.Thread(target=client, args=(engine, http, number, work, record, end)))
            threads[-1].start()
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - begin, resident()))
            time.sleep(0.25)
        others = between(before, snapshot())
        for _ in range(200):  # requests whose clients have left end a moment later
            if engine.metrics()["running"] == 0:
                break
            time.sleep(0.05)
        left, counted = engine.metrics()["running"], engine.metrics()
    return report(arguments, record, memory, left, counted, others)


def report(
    arguments: argparse.Namespace, record: Record, memory: list, left: int, counted: dict, others: Load
) -> dict[str, Any]:
    after = [size for when, size in memory if when >= 0.2 * arguments.seconds]
    part = max(1, len(after) // 10)
    first, last = float(np.median(after[:part])), float(np.median(after[-part:]))
    tasks = {}
    for task, seconds in record.seconds.items():
        p50, p99 = (float(np.percentile(seconds, q)) if seconds else None for q in (50, 99))
        tasks[task] = {"completed": len(seconds), "p50": p50, "p99": p99, "ratio": p99 / p50 if seconds else None}
    checks = {
        "no undocumented error": not record.undocumented,
        "results are those of the same request alone": not record.wrong,
        "every task completed": all(entry["completed"] for entry in tasks.values()),
        "nothing runs afterwards": left == 0,
    }
    if not arguments.quick:
        checks["memory grows by less than 2 %"] = last / first - 1 < GROWTH
        checks["p99 is at most four times p50"] = all((entry["ratio"] or 0) <= RATIO for entry in tasks.values())
    dit = counted["components"]["dit"]
    return {
        "model": str(arguments.model), "backend": arguments.backend, "seconds": arguments.seconds,
        "clients": arguments.clients, "threads": arguments.threads, "steps": arguments.steps,
        "requests": sum(record.outcomes.values()) + len(record.undocumented),
        "outcomes": record.outcomes, "tasks": tasks,
        "memory": {"first": first, "last": last, "growth": last / first - 1},
        "calls per run of the dit": dit["calls"] / dit["runs"], "wrong": record.wrong[:20],
        "undocumented": record.undocumented[:20], "environment": environment(),
        "others": {"foreign_cpus": others.share("foreign"), "stolen_cpus": others.share("steal")},
        "checks": checks, "passed": all(checks.values()),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Load test of the engine and its server.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--backend", default="native")
    parser.add_argument("--threads", type=int, help="of the backend (default: its own choice)")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6, help="sampler steps of a picture")
    parser.add_argument("--pool", type=int, default=6, help="different requests of each task")
    parser.add_argument("--quick", action="store_true", help="leave out memory and times, which need minutes")
    parser.add_argument("--json", type=Path, help="write the report there as well")
    arguments = parser.parse_args()
    found = json.dumps(run(arguments), indent=1)
    print(found)
    if arguments.json:
        arguments.json.write_text(found + "\n")
    return 0 if json.loads(found)["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
