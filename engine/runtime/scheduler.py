"""Many requests on one backend.

Each request drives its own pipeline in its caller's thread; only the heavy calls come here. One thread serves them, one
at a time, in order of arrival, so that requests take turns call by call: a decoded token between two sampler steps. As
the backend sees one call at a time, with nothing of another request in it, a result is the same whatever else runs.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ..errors import BackendError, Busy, Cancelled, DeadlineExceeded
from ..requests import Terms
from .line import Request, Waiting

GRACE_S = 0.002
"""How long the backend may idle for the next call of a request that comes before those in line."""


class Observer(Protocol):
    """Told what happens, in whichever thread it happens; times are of time.perf_counter()."""

    def ran(self, request: Request, component: str, inputs: dict[str, Any], begin: float, end: float) -> None: ...
    def finished(self, request: Request, outcome: str, begin: float, end: float) -> None: ...


class Scheduler:
    """Admits requests and serves their calls.

    run          the backend's `run(component, inputs)`; with `cancel=` where there is a cancel_flag
    cancel_flag  makes the flag that stops a run of the backend; None: runs cannot be stopped once they have begun
    max_running  requests that take turns; each holds its own latents and key-value cache
    max_waiting  requests in line for a start; beyond them a request is refused with Busy
    """

    def __init__(
        self,
        run: Callable[..., dict[str, Any]],
        cancel_flag: Callable[[], Any] | None = None,
        *,
        max_running: int = 8,
        max_waiting: int = 64,
    ):
        self.max_running, self.max_waiting = max_running, max_waiting
        self.threads = threading.BoundedSemaphore(max_running + max_waiting)  # of asynchronous requests
        self.observers: list[Observer] = []
        self._run, self._cancel_flag = run, cancel_flag
        self._changed = threading.Condition(threading.Lock())
        self._numbers = itertools.count(1)
        self._running = 0
        self._starts: list[Waiting] = []
        self._calls: list[Waiting] = []
        self._current: Waiting | None = None
        self._thread: threading.Thread | None = None
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
            made.admitted = True
            try:
                yield made
            finally:
                made.admitted = False
                self._leave()
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

    def call(self, request: Request, component: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs of one run for an admitted request, when its turn comes."""
        if (error := request.refusal(f"a run of {component}")) is not None:
            raise error
        waiting = Waiting(request, component, inputs)
        with self._changed:
            self._refuse_closed()
            waiting.flag = None if self._cancel_flag is None else self._cancel_flag()
            waiting.number = next(self._numbers)
            self._calls.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="spar-scheduler", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            error = request.wait(waiting)
        except BaseException:
            self._withdraw(waiting)
            raise
        if error is None:
            return waiting.result()
        if not self._withdraw(waiting):  # it has begun: the backend may still read its inputs
            waiting.done.wait()
        raise error

    def close(self, wait: bool = True) -> None:
        """End every request with BackendError; with `wait`, return when the backend is idle."""
        with self._changed:
            self._closed = True
            for waiting in (*self._starts, *self._calls):
                waiting.error = _closed()
                waiting.done.set()
            self._starts.clear()
            self._calls.clear()
            if self._current is not None and self._current.flag is not None:
                self._current.flag.set()
            self._changed.notify_all()
            if self._thread is None:
                self._run = self._cancel_flag = None
        if wait and self._thread is not None:
            self._thread.join()

    # -- admission

    def _start(self, request: Request) -> None:
        with self._changed:
            self._refuse_closed()
            if self._running < self.max_running and not self._starts:
                self._running += 1
                return
            if len(self._starts) >= self.max_waiting:
                raise Busy(f"busy: {self._running} requests run and {len(self._starts)} wait; try again later, or load "
                           "the engine with a larger max_running or max_waiting")  # fmt: skip
            waiting = Waiting(request, "a start")
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

    def _leave(self) -> None:
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

    # -- calls

    def _withdraw(self, waiting: Waiting) -> bool:
        """Take a call back; False when it has begun, and then it is told to stop."""
        with self._changed:
            if waiting in self._calls:
                self._calls.remove(waiting)
                return True
            if waiting.flag is not None:
                waiting.flag.set()
            return False

    def _serve(self) -> None:
        last: Request | None = None
        while True:
            with self._changed:
                while not self._calls and not self._closed:
                    last = None
                    self._changed.wait()
                if last is not None and not self._closed:
                    self._await_next_of(last)
                if self._closed:
                    self._run = self._cancel_flag = None
                    return
                if not self._calls:
                    continue
                self._current = self._take(self._calls)
                last = self._current.request
            self._answer(self._current)
            self._current = None

    def _await_next_of(self, last: Request) -> None:
        """Give the request that was just served the time to ask again, where it comes before those in line."""
        now, end = time.monotonic(), time.monotonic() + GRACE_S
        standing = last.standing(now)
        while (
            not self._closed
            and last.admitted
            and now < end
            and all(call.request is not last and call.request.standing(now) < standing for call in self._calls)
        ):
            self._changed.wait(end - now)
            now = time.monotonic()

    def _answer(self, waiting: Waiting) -> None:
        request, begin = waiting.request, time.perf_counter()
        inputs = waiting.inputs
        request.waited += begin - waiting.since
        try:
            if waiting.flag is None:
                waiting.outputs = self._run(waiting.name, inputs)
            else:
                waiting.outputs = self._run(waiting.name, inputs, cancel=waiting.flag)
        except BaseException as error:
            waiting.error = _closed() if self._closed else error
        end = time.perf_counter()
        request.timings.add(waiting.name, end - begin)
        for observer in tuple(self.observers):
            observer.ran(request, waiting.name, inputs, begin, end)
        waiting.done.set()

    def _take(self, line: list[Waiting]) -> Waiting:
        now = time.monotonic()
        first = min(line, key=lambda waiting: waiting.rank(now))
        line.remove(first)
        return first

    def _refuse_closed(self) -> None:
        if self._closed:
            raise _closed()


def _closed() -> BackendError:
    return BackendError("the engine is closed; load another one")
