"""Which requests may start: those that take turns, and the line of those that wait for a start."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from ..errors import BackendError, Busy, Cancelled, DeadlineExceeded
from ..requests import Terms
from .line import START, Request, Waiting


class Observer(Protocol):
    """Told what happens, in whichever thread it happens; times are of time.perf_counter()."""

    def ran(
        self, requests: list[Request], component: str, inputs: dict[str, Any], begin: float, end: float
    ) -> None: ...
    def finished(self, request: Request, outcome: str, begin: float, end: float) -> None: ...


class Admission:
    """Admits requests, at most so many at a time, and tells the observers how each ends.

    max_running  requests that take turns; each holds its own latents and key-value cache
    max_waiting  requests in line for a start; beyond them a request is refused with Busy
    """

    def __init__(self, max_running: int, max_waiting: int):
        self.max_running, self.max_waiting = max_running, max_waiting
        self.threads = threading.BoundedSemaphore(max_running + max_waiting)  # of asynchronous requests
        self.observers: list[Observer] = []
        self._changed = threading.Condition(threading.Lock())
        self._numbers = itertools.count(1)
        self._running = 0
        self._starts: list[Waiting] = []
        self._closed = False

    @property
    def running(self) -> int:
        """Requests that take turns now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests in line for a start now."""
        return len(self._starts)

    @contextlib.contextmanager
    def request(self, task: str, terms: Terms) -> Iterator[Request]:
        """Admit a request, and count how it ends. Raises Busy, Cancelled or DeadlineExceeded instead of starting it."""
        with self._changed:
            made = Request(next(self._numbers), task, terms)
        begin, outcome = time.perf_counter(), "failed"
        try:
            self._start(made)
            try:
                yield made
            finally:
                self._leave(made)
            outcome = "completed"
        except Busy:
            outcome = "busy"
            raise
        except DeadlineExceeded:
            outcome = "expired"
            raise
        except (Cancelled, GeneratorExit, KeyboardInterrupt):
            outcome = "cancelled"
            raise
        finally:
            for observer in tuple(self.observers):
                observer.finished(made, outcome, begin, time.perf_counter())

    def _start(self, request: Request) -> None:
        with self._changed:
            self._refuse_closed()
            if self._running < self.max_running and not self._starts:
                self._running += 1
                return
            if len(self._starts) >= self.max_waiting:
                raise Busy(f"busy: {self._running} requests run and {len(self._starts)} wait; try again later, or load "
                           "the engine with a larger max_running or max_waiting")  # fmt: skip
            waiting = Waiting(request, START)
            waiting.number = next(self._numbers)
            self._starts.append(waiting)
        try:
            error = request.wait(waiting)
        except BaseException:
            self._give_up(waiting)
            raise
        request.waited += time.perf_counter() - waiting.since
        if error is not None:
            self._give_up(waiting)
            raise error
        waiting.result()

    def _give_up(self, waiting: Waiting) -> None:
        """Leave the line for a start, or give back a start that came meanwhile."""
        with self._changed:
            if waiting in self._starts:
                self._starts.remove(waiting)
            elif waiting.error is None:
                self._next()

    def _leave(self, request: Request) -> None:
        """`request` has ended, however it did."""
        with self._changed:
            self._next()
            self._changed.notify()

    def _next(self) -> None:
        """Hand the place of a request that ends to the next in line."""
        if not self._starts:
            self._running -= 1
            return
        first = self._take(self._starts)
        first.done.set()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise closed()

    @staticmethod
    def _take(line: list[Waiting]) -> Waiting:
        now = time.monotonic()
        first = min(line, key=lambda waiting: waiting.rank(now))
        line.remove(first)
        return first


def closed() -> BackendError:
    """The error of everything that an engine is asked, or still does, once it is closed."""
    return BackendError("the engine is closed; load another one")
