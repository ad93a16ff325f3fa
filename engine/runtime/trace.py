"""A trace of one engine for chrome://tracing and ui.perfetto.dev."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from .budget import Budgeted
from .line import Request
from .ranges import run_name

COMPONENTS, REQUESTS = 1, 2
"""Groups of tracks: of runs, one for each that went on at a time; and of requests, each by its number."""


class Trace:
    """An observer that keeps what happens, and writes it when it is done.

    path    file to write, as JSON in Chrome's trace event format; times are microseconds from the start of the trace
    budget  of the engine, which says into how many strips a run was cut
    """

    def __init__(self, path: str | Path, name: str, budget: Budgeted | None = None):
        self.path = Path(path)
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise InputError(f"{self.path}: a trace cannot be written there; name a file in a directory that exists")
        self._budget = budget
        self._begin = time.perf_counter()
        self._lock = threading.Lock()
        self._free: list[float] = []  # when the last run on each track of runs ended
        self._events: list[dict[str, Any]] = [
            {"name": "process_name", "ph": "M", "pid": group, "tid": 0, "args": {"name": f"{name}: {what}"}}
            for group, what in ((COMPONENTS, "components"), (REQUESTS, "requests"))
        ]

    def ran(self, requests: list[Request], component: str, inputs: dict[str, Any], begin: float, end: float) -> None:
        more = {"requests": [request.number for request in requests],
                "inputs": {name: list(value.shape) for name, value in inputs.items()}}  # fmt: skip
        if self._budget is not None and self._budget.strips is not None:
            more["strips"], more["stages_cut"] = self._budget.strips
        with self._lock:
            track = next((track for track, free in enumerate(self._free) if free <= begin), len(self._free))
            self._free[track : track + 1] = [end]
        self._add(run_name(component, inputs), "component", (COMPONENTS, track), begin, end, more)

    def finished(self, request: Request, outcome: str, begin: float, end: float) -> None:
        self._add(request.task, "request", (REQUESTS, request.number), begin, end,
                  {"outcome": outcome, "waited_s": request.waited, "priority": request.terms.priority})  # fmt: skip

    def write(self) -> None:
        """Write the file, whole or not at all."""
        with self._lock:
            made = {"traceEvents": self._events, "displayTimeUnit": "ms"}
            part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            try:
                part.write_text(json.dumps(made))
                os.replace(part, self.path)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None

    def _add(
        self, name: str, kind: str, track: tuple[int, int], begin: float, end: float, more: dict[str, Any]
    ) -> None:
        with self._lock:
            self._events.append({
                "name": name, "cat": kind, "ph": "X", "pid": track[0], "tid": track[1],
                "ts": (begin - self._begin) * 1e6, "dur": (end - begin) * 1e6, "args": more,
            })  # fmt: skip
