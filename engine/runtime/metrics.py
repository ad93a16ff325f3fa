"""Counts of what an engine has done, for people and for Prometheus."""

from __future__ import annotations

import threading
from typing import Any

from ..pipelines.parts import Parts
from .budget import Budgeted
from .line import Request
from .scheduler import Scheduler

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper ends of the buckets of request times."""
OUTCOMES = ("completed", "cancelled", "expired", "busy", "failed")


class Metrics:
    """Counters over an engine's life; an observer of its scheduler. Safe from any thread."""

    def __init__(self, scheduler: Scheduler, parts: Parts, budget: Budgeted | None = None):
        self._scheduler, self._parts, self._budget = scheduler, parts, budget
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, list[float]] = {}  # of completed requests: one count a bucket, count, sum
        self._components: dict[str, list[float]] = {}  # runs, seconds, calls
        self._waited = 0.0

    def ran(self, requests: list[Request], component: str, inputs: dict[str, Any], begin: float, end: float) -> None:
        with self._lock:
            entry = self._components.setdefault(component, [0, 0.0, 0])
            entry[0] += 1
            entry[1] += end - begin
            entry[2] += len(requests)

    def finished(self, request: Request, outcome: str, begin: float, end: float) -> None:
        with self._lock:
            key = request.task, outcome
            self._requests[key] = self._requests.get(key, 0) + 1
            self._waited += request.waited
            if outcome != "completed":
                return
            entry = self._seconds.setdefault(request.task, [0.0] * (len(BUCKETS_S) + 2))
            for place, most in enumerate(BUCKETS_S):
                entry[place] += end - begin <= most
            entry[-2] += 1
            entry[-1] += end - begin

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain values.

        requests    task -> outcome -> count; outcomes are completed, cancelled, expired, busy and failed
        seconds     task -> {"count", "sum", "buckets": {upper end: count}} of completed requests
        components  component -> {"runs", "seconds", "calls"}; a run may serve calls of several requests
        caches      cache -> {"hits", "misses", "entries", "bytes"}
        running, waiting    requests that take turns now, and in line for a start
        waited_seconds      spent in line by all requests that have ended
        unloads, cut_runs   components that were unloaded, and runs that were made in strips, to stay within the memory
                            budget
        """
        with self._lock:
            requests: dict[str, dict[str, int]] = {}
            for (task, outcome), count in self._requests.items():
                requests.setdefault(task, dict.fromkeys(OUTCOMES, 0))[outcome] = count
            seconds = {
                task: {"count": int(entry[-2]), "sum": entry[-1],
                       "buckets": {most: int(count) for most, count in zip(BUCKETS_S, entry, strict=False)}}
                for task, entry in self._seconds.items()
            }  # fmt: skip
            components = {name: {"runs": int(runs), "seconds": spent, "calls": int(calls)}
                          for name, (runs, spent, calls) in self._components.items()}  # fmt: skip
            waited = self._waited
        caches = {name: {"hits": cache.hits, "misses": cache.misses, "entries": cache.entries, "bytes": cache.held}
                  for name, cache in self._parts.store.caches.items()}  # fmt: skip
        return {
            "requests": requests, "seconds": seconds, "components": components, "caches": caches,
            "running": self._scheduler.running, "waiting": self._scheduler.waiting, "waited_seconds": waited,
            "unloads": self._budget.unloads if self._budget else 0,
            "cut_runs": self._budget.cut_runs if self._budget else 0,
        }  # fmt: skip


def prometheus(found: dict[str, Any]) -> str:
    """A snapshot in Prometheus' text format 0.0.4."""
    lines: list[str] = []

    def family(name: str, kind: str, text: str, rows: list[tuple[str, str, float]]) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{suffix}{{{labels}}} {value!r}" if labels else f"{name}{suffix} {value!r}"
                     for suffix, labels, value in rows)  # fmt: skip

    family("spar_requests_total", "counter", "Requests that have ended.",
           [("", f'task="{task}",outcome="{outcome}"', count)
            for task, counts in found["requests"].items() for outcome, count in counts.items()])  # fmt: skip
    rows = []
    for task, entry in found["seconds"].items():
        rows += [("_bucket", f'task="{task}",le="{most:g}"', count) for most, count in entry["buckets"].items()]
        rows += [("_bucket", f'task="{task}",le="+Inf"', entry["count"]),
                 ("_sum", f'task="{task}"', entry["sum"]), ("_count", f'task="{task}"', entry["count"])]  # fmt: skip
    family("spar_request_seconds", "histogram", "Time of completed requests, waiting included.", rows)
    for key, text in (("runs", "Runs of a component."), ("seconds", "Time in runs of a component."),
                      ("calls", "Calls of a component; a run may serve several.")):  # fmt: skip
        family(f"spar_component_{key}_total", "counter", text,
               [("", f'component="{name}"', entry[key]) for name, entry in found["components"].items()])  # fmt: skip
    for key, text in (("hits", "Values found in a cache."), ("misses", "Values not found in a cache.")):
        family(f"spar_cache_{key}_total", "counter", text,
               [("", f'cache="{name}"', entry[key]) for name, entry in found["caches"].items()])  # fmt: skip
    for key, text in (("entries", "Values in a cache."), ("bytes", "Bytes of the values in a cache, at most.")):
        family(f"spar_cache_{key}", "gauge", text,
               [("", f'cache="{name}"', entry[key]) for name, entry in found["caches"].items()])  # fmt: skip
    family("spar_requests_running", "gauge", "Requests that take turns now.", [("", "", found["running"])])
    family("spar_requests_waiting", "gauge", "Requests in line for a start.", [("", "", found["waiting"])])
    family("spar_waited_seconds_total", "counter", "Time in line of requests that have ended.",
           [("", "", found["waited_seconds"])])  # fmt: skip
    family("spar_unloads_total", "counter", "Components unloaded to stay within the memory budget.",
           [("", "", found["unloads"])])  # fmt: skip
    family("spar_cut_runs_total", "counter", "Runs made in strips to stay within the memory budget.",
           [("", "", found["cut_runs"])])  # fmt: skip
    return "\n".join(lines) + "\n"
