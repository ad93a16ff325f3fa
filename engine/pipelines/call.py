"""What a pipeline may ask for, and the loop that answers it.

A pipeline is a generator. It yields `Call`s, is sent their outputs, and returns its result; it may also yield events
(a finished step, a piece of text) for whoever watches. It never knows which backend answers, so a scheduler can drive
many pipelines and put calls of the same component together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import Cancelled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """One run of one component."""

    component: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A run that would answer many calls at once. It is made where the backend offers it and nobody watches the events
    that it would skip; else it is answered with None, and the pipeline goes call by call."""

    component: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A sampler step has finished."""

    index: int  # 0 for the first step
    total: int
    image: int  # which picture of the request
    latent: Any  # [1, channels, height, width] float32 after the step
    expected: Any  # the data prediction: the finished latent as the model expects it now
    seconds: float  # of this step, waiting for its turn included


@dataclass(frozen=True, slots=True)
class Token:
    """A token was decoded. `text` is what became readable with it; it may be empty inside a character."""

    id: int
    text: str


Event = Step | Token
Pipeline = Generator[Call | Offer | Event, Any, Result]


@dataclass(slots=True)
class Timings:
    """Wall seconds and number of runs of each component in one request."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, component: str, seconds: float) -> None:
        self.seconds[component] = self.seconds.get(component, 0.0) + seconds
        self.calls[component] = self.calls.get(component, 0) + 1

    def as_dict(self) -> dict[str, dict[str, float]]:
        return {name: {"seconds": self.seconds[name], "calls": self.calls[name]} for name in self.seconds}


def next_run(pipeline: Pipeline[Any], answer: Any = None, offers: Collection[str] = ()) -> Call | Offer:
    """The next run that a pipeline asks for once it has `answer`, the outputs of the last one (None: it begins); its
    events are skipped. Raises StopIteration with the result when it is done."""
    while True:
        wanted = pipeline.send(answer)
        if isinstance(wanted, Call) or (isinstance(wanted, Offer) and wanted.component in offers):
            return wanted
        answer = None


def stream(
    pipeline: Pipeline[Result],
    execute: Callable[[str, dict[str, Any]], dict[str, Any]],
    cancelled: Callable[[], bool] | None = None,
    timings: Timings | None = None,
    offers: Collection[str] = (),
) -> Generator[Event, None, Result]:
    """Drive one pipeline with `execute(component, inputs)`, passing its events on as they come.

    Before every call `cancelled()` is asked; when it says yes the pipeline is closed and `Cancelled` is raised.
    offers  names of the `Offer`s that `execute` takes
    """
    answer: Any = None
    try:
        while True:
            try:
                wanted = pipeline.send(answer)
            except StopIteration as finished:
                return finished.value
            answer = None
            if isinstance(wanted, Offer) and wanted.component not in offers:
                continue
            if not isinstance(wanted, (Call, Offer)):
                yield wanted
                continue
            if cancelled is not None and cancelled():
                raise Cancelled(f"cancelled before a run of {wanted.component}")
            start = time.perf_counter()
            answer = execute(wanted.component, wanted.inputs)
            if timings is not None:
                timings.add(wanted.component, time.perf_counter() - start)
    finally:
        pipeline.close()


def run(
    pipeline: Pipeline[Result],
    execute: Callable[[str, dict[str, Any]], dict[str, Any]],
    on_event: Callable[[Event], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    timings: Timings | None = None,
    offers: Collection[str] = (),
) -> Result:
    """Drive one pipeline to its result; `on_event` sees every event, so with it no offer is taken."""
    events = stream(pipeline, execute, cancelled, timings, offers if on_event is None else ())
    while True:
        try:
            event = next(events)
        except StopIteration as finished:
            return finished.value
        if on_event is not None:
            on_event(event)
