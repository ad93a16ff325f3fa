"""What an engine tells about itself, and how it is made ready."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..pipelines.preview import colours, paint
from ..requests import Terms
from ..results import Picture
from .line import Request
from .logs import RequestLog
from .metrics import Metrics
from .trace import Trace

TASKS = ("generate", "edit", "segment", "reconstruct", "ask")


class Observed:
    """Counters, traces, previews and warm-up of an `Engine`."""

    def _observe(self: Any) -> None:
        self._preview_map: np.ndarray | None = None
        self._metrics = Metrics(self._scheduler, self._parts, self._budget)
        self._scheduler.observers += [self._metrics, RequestLog()]

    @property
    def max_requests(self: Any) -> int:
        """Requests that run or wait at most."""
        return self._scheduler.max_running + self._scheduler.max_waiting

    def metrics(self: Any) -> dict[str, Any]:
        """Counts since the engine was loaded: requests by task and outcome, queue, components, caches; plain values.
        `runtime.metrics.Metrics.snapshot` names the keys."""
        return self._metrics.snapshot()

    def _fit_preview(self: Any) -> None:
        with self._scheduler.request("preview", Terms.of(0, None, None)) as request:
            self._colours(request)

    def _colours(self: Any, request: Request) -> np.ndarray:
        """The map of previews; two requests that want it first both compute it, and find the same."""
        if self._preview_map is None:
            self._preview_map = self._run(request, colours(self._parts))
        return self._preview_map

    def _previewer(self: Any, request: Request) -> Callable[[np.ndarray], Picture]:
        """Paints latents of the DiT, within `request`."""

        def show(latent: np.ndarray) -> Picture:
            weights = self._colours(request)
            return Picture(paint(latent / np.float32(self.config.latent_scale), weights), self._stamp("preview"))

        return show

    @contextlib.contextmanager
    def trace(self: Any, path: str | Path) -> Iterator[None]:
        """Record what runs within the `with` block to `path`, for chrome://tracing or ui.perfetto.dev.

        The runs of components are named with the shape of their first input, on a track for each that went on at a
        time; each request has a track of its own.
        errors  InputError where the file cannot be written
        """
        recorder = Trace(path, f"{self.config.name} on {self.about['backend']}", self._budget)
        self._scheduler.observers.append(recorder)
        try:
            yield
        finally:
            self._scheduler.observers.remove(recorder)
            recorder.write()

    def warmup(self: Any, tasks: Sequence[str] = TASKS, *, preview: bool = False) -> dict[str, float]:
        """Run the real path of `tasks` once, short, so that the first request takes no longer than the next.

        Loads the weights of every component that they need, and fills the caches that all requests share.
        preview  also fit the map that previews are painted with
        returns  seconds of each task, and of "preview"
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
            "preview": self._fit_preview,
        }
        spent = {}
        for task in [*tasks, *(["preview"] if preview else [])]:
            begin = time.perf_counter()
            runs[task]()
            spent[task] = time.perf_counter() - begin
        return spent
