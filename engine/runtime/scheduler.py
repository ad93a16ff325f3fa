"""Many requests on one backend.

Each request drives its own pipeline in its caller's thread; only the heavy calls come here. One thread serves them, one
run at a time, in order of arrival, so that requests take turns call by call: a decoded token between two sampler steps.
A run is one call, or several that the backend can join without changing a bit of any: so a result is the same whatever
else runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from .admission import Admission, closed
from .line import Request, Run, Waiting

GRACE_S = 0.002
"""How long the backend may idle for the next call of a request that comes before those in line, or could join them."""


class Scheduler(Admission):
    """Admits requests and serves their calls.

    run          the backend's `run(component, inputs)`; with `cancel=` where there is a cancel_flag
    cancel_flag  makes the flag that stops a run of the backend; None: runs cannot be stopped once they have begun
    together     `alike`, `join` and `split` of a backend whose calls can be joined exactly (backends/together.py)
    max_running, max_waiting  see `Admission`
    max_batch    calls of one run
    """

    def __init__(
        self,
        run: Callable[..., dict[str, Any]],
        cancel_flag: Callable[[], Any] | None = None,
        together: Any = None,
        *,
        max_running: int = 8,
        max_waiting: int = 64,
        max_batch: int = 4,
    ):
        super().__init__(max_running, max_waiting)
        self._run, self._cancel_flag = run, cancel_flag
        self._together, self._max_batch = together if max_batch > 1 else None, max_batch
        self._calls: list[Waiting] = []
        self._current: Run | None = None
        self._thread: threading.Thread | None = None

    def call(self, request: Request, component: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs of one run for an admitted request, when its turn comes."""
        if (error := request.refusal(f"a run of {component}")) is not None:
            raise error
        waiting = Waiting(request, component, inputs)
        waiting.alike = None if self._together is None else self._together.alike(component, inputs)
        with self._changed:
            self._refuse_closed()
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
        if not self._withdraw(waiting) and waiting.run.size == 1:
            waiting.done.wait()  # it has begun, and the backend may still read its inputs; a joint run reads copies
        raise error

    def close(self, wait: bool = True) -> None:
        """End every request with BackendError; with `wait`, return when the backend is idle."""
        with self._changed:
            self._closed = True
            for waiting in (*self._starts, *self._calls):
                waiting.error = closed()
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

    # -- calls

    def _withdraw(self, waiting: Waiting) -> bool:
        """Take a call back; False when it has begun, and then it is told to stop unless others want it."""
        with self._changed:
            if waiting in self._calls:
                self._calls.remove(waiting)
                return True
            if waiting.run is None:  # the engine was closed meanwhile
                return True
            waiting.run.leave(waiting)
            return False

    def _serve(self) -> None:
        last: Run | None = None
        while True:
            with self._changed:
                while not self._calls and not self._closed:
                    if not self._changed.wait(None if last is None else GRACE_S):
                        last = None
                if last is not None and not self._closed:
                    self._await_more_of(last)
                if self._closed:
                    self._run = self._cancel_flag = None
                    return
                if not self._calls:
                    continue
                self._current = last = self._begin()
            self._answer(last)
            self._current = None
            last.members = []

    def _begin(self) -> Run:
        """The next run: the first call in line, and those that can join it and stand no lower or higher."""
        first = self._take(self._calls)
        members = [first]
        if first.alike is not None:
            now = time.monotonic()
            standing = first.request.standing(now)
            same = [call for call in self._calls
                    if call.alike == first.alike and call.request.standing(now) == standing]  # fmt: skip
            for call in sorted(same, key=lambda call: call.number)[: self._max_batch - 1]:
                self._calls.remove(call)
                members.append(call)
        return Run(members, None if self._cancel_flag is None else self._cancel_flag())

    def _await_more_of(self, last: Run) -> None:
        """Give the requests that were just served the time to ask again, where they come before those in line or could
        be served together with them."""
        end = time.monotonic() + GRACE_S
        while not self._closed and (now := time.monotonic()) < end and self._may_ask(last, now):
            self._changed.wait(end - now)

    def _may_ask(self, last: Run, now: float) -> bool:
        if not self._calls:
            return False
        asking = {call.request for call in self._calls}
        silent = [request for request in last.requests if request.admitted and request not in asking]
        joins = last.alike is not None and any(call.alike == last.alike for call in self._calls)
        first = max(request.standing(now) for request in asking)
        return any(request.standing(now) > first or (joins and request.standing(now) == first) for request in silent)

    def _answer(self, run: Run) -> None:
        inputs, begin = [member.inputs for member in run.members], time.perf_counter()
        for member in run.members:
            member.request.waited += begin - member.since
        stop = {} if run.flag is None else {"cancel": run.flag}
        joined = inputs[0] if len(inputs) == 1 else self._together.join(inputs)
        try:
            outputs = self._run(run.name, joined, **stop)
            found = [outputs] if len(inputs) == 1 else self._together.split(inputs, outputs)
            for member, own in zip(run.members, found, strict=True):
                member.outputs = own
        except BaseException as error:
            if run.size > 1 and not self._closed and not run.deserted:
                self._answer_each(run)  # an error of one call must not end the others
                return
            for member in run.members:
                member.error = closed() if self._closed else error
        end = time.perf_counter()
        for member in run.members:
            member.request.timings.add(run.name, end - begin)
        for observer in tuple(self.observers):
            observer.ran(run.requests, run.name, joined, begin, end)
        for member in run.members:
            member.done.set()

    def _answer_each(self, run: Run) -> None:
        for member in run.members:
            with self._changed:
                if self._closed:
                    member.error = closed()
                if member.left or self._closed:
                    member.done.set()
                    continue
                member.since = time.perf_counter()
                self._current = alone = Run([member], None if self._cancel_flag is None else self._cancel_flag())
            self._answer(alone)
