"""The public API: one loaded model, and its five tasks.

Every method may be called from several threads at once. Requests take turns, one run of a component after another
(`runtime.scheduler`), and a result does not depend on what else runs.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import numpy as np

from .backends import together
from .config import ModelConfig
from .pipelines.call import Pipeline, run
from .pipelines.parts import Parts
from .requests import Terms, whole
from .runtime.asking import Asking
from .runtime.asynchronous import Asynchronous
from .runtime.drawing import Drawing
from .runtime.line import Request
from .runtime.observed import Observed
from .runtime.planning import Planned
from .runtime.ranges import ranged
from .runtime.reconstructing import Reconstructing
from .runtime.scheduler import Scheduler


class Engine(Drawing, Reconstructing, Asking, Asynchronous, Observed, Planned):
    """One loaded model, made by `spar_engine.load`. `close` it, or use it in a `with` block, to free its memory.

    Every task takes, beside its own options:

    cancel    a function that says True, or an Event that is set, to stop: inside a run of a component where the backend
              can (native), else before the next
    priority  -10 .. 10; requests of a higher one get more turns, and those of a lower one still get some
    deadline  seconds from now after which the request ends with DeadlineExceeded
    errors    Busy when too many requests run and wait already; OverBudget; Cancelled; DeadlineExceeded; BackendError
              once closed

    max_running  requests that take turns; each holds its own latents and key-value cache
    max_waiting  requests that may be in line for a start
    max_batch    requests whose sampler steps may be one run, where the backend can do it exactly (native)
    memory_budget  bytes that the model and its requests may hold, caches included; to stay below, components are
                 unloaded between their uses, and where that is not enough the decoder runs in strips (native). A
                 request that cannot is refused with OverBudget
    nvtx         mark the runs of components as NVTX ranges, for Nsight Systems; needs the package nvtx
    """

    def __init__(
        self,
        config: ModelConfig,
        backend: Any,
        parts: Parts,
        prompts: Any,
        about: dict[str, Any],
        *,
        max_running: int = 8,
        max_waiting: int = 64,
        max_batch: int = 4,
        memory_budget: int | None = None,
        nvtx: bool = False,
    ):
        self.config = config
        self.backend = backend
        self.about = about  # source, backend, why that backend, precision, position table, ignored tensors
        self._parts = parts
        self._prompts = prompts
        max_batch = whole("max_batch", max_batch, 1, together.MOST)
        self._set_budget(memory_budget, max_batch)
        execute, lanes = backend.run, getattr(backend, "lanes", 1)
        if self._budget is not None:
            execute, lanes = self._budget.run, 1
        self._scheduler = Scheduler(
            ranged(execute) if nvtx else execute,
            getattr(backend, "cancel_flag", None),
            getattr(backend, "together", None),
            max_running=whole("max_running", max_running, 1, 1024),
            max_waiting=whole("max_waiting", max_waiting, 0, 65536),
            max_batch=max_batch,
            lanes=lanes,
        )
        self._observe()
        weakref.finalize(self, self._scheduler.close, wait=False)

    def execute(self, component: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run one component (names and arrays of `spar_engine.components`), in turn with the requests."""
        with self._scheduler.request("execute", Terms.of(0, None, None)) as request:
            return self._scheduler.call(request, component, inputs)

    def close(self) -> None:
        """End what runs and waits, and free the model's memory. A request made afterwards is refused."""
        self._scheduler.close()
        self._parts.clear()
        self.backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what the tasks share

    def _open(self, image: Any) -> np.ndarray:
        from .image import load_image

        return load_image(image)

    def _shared(self, kind: str) -> np.ndarray:
        """Leading ids that every prompt of one kind has (E9)."""
        from .text import templates

        return self._prompts.tokenizer.encode(templates.SHARED[kind])

    def _stamp(self, task: str, **more: Any) -> dict[str, Any]:
        known = {"task": task, "model": self.config.name, "backend": self.about["backend"],
                 "precision": self.about["precision"]}  # fmt: skip
        return known | {name: value for name, value in more.items() if value is not None}

    def _run(self, request: Request, work: Pipeline[Any], on_event: Any = None) -> Any:
        if on_event is None:
            return self._scheduler.drive(request, work, getattr(self.backend, "offers", ()))
        return run(work, partial(self._scheduler.call, request), on_event)
