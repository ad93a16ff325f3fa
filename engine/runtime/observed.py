"""What an engine tells about itself, and how it is made ready."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .metrics import Metrics
from .trace import Trace

TASKS = ("generate", "edit", "segment", "reconstruct", "ask")


class Observed:
    """Counters, traces and warm-up of an `Engine`."""

    def _observe(self: Any) -> None:
        self._metrics = Metrics(self._scheduler, self._parts)
        self._scheduler.observers.append(self._metrics)

    @property
    def max_requests(self: Any) -> int:
        """Requests that run or wait at most."""
        return self._scheduler.max_running + self._scheduler.max_waiting

    def metrics(self: Any) -> dict[str, Any]:
        """Counts since the engine was loaded: requests by task and outcome, queue, components, caches; plain values.
        `runtime.metrics.Metrics.snapshot` names the keys."""
        return self._metrics.snapshot()

    @contextlib.contextmanager
    def trace(self: Any, path: str | Path) -> Iterator[None]:
        """Record what runs within the `with` block to `path`, for chrome://tracing or ui.perfetto.dev.

        One track holds the runs of components, named with the shape of their first input; each request has its own.
        errors  InputError where the file cannot be written
        """
        recorder = Trace(path, f"{self.config.name} on {self.about['backend']}")
        self._scheduler.observers.append(recorder)
        try:
            yield
        finally:
            self._scheduler.observers.remove(recorder)
            recorder.write()

    def warmup(self: Any, tasks: Sequence[str] = TASKS) -> dict[str, float]:
        """Run the real path of `tasks` once, short, so that the first request takes no longer than the next.

        Loads the weights of every component that they need, and fills the caches that all requests share.
        returns  seconds of each task
        """
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or isinstance(tasks, str):
            raise InputError(f"tasks={tasks!r}: give a list of {', '.join(TASKS)}")
        side = self.config.vision.image_size
        picture = np.full((side, side, 3), 128, np.uint8)
        short: dict[str, Any] = {"seed": 0, "num_inference_steps": 2}
        runs = {
            "generate": lambda: self.generate("warm up", **short),
            "edit": lambda: self.edit(picture, "warm up", **short),
            "segment": lambda: self.segment(picture, **short),
            "reconstruct": lambda: self.reconstruct(picture),
            "ask": lambda: self.ask(picture, "warm up", max_new_tokens=2),
        }
        spent = {}
        for task in tasks:
            begin = time.perf_counter()
            runs[task]()
            spent[task] = time.perf_counter() - begin
        return spent
