"""The threads that run calls on the backend, and which calls come next.

A lane makes one run after another: one call, or several that the backend can join without changing a bit of any. Most
backends have one lane. Where runs may overlap and are short (`lanes` of the backend), several lanes use the processors
better than one run on all of them: less waiting for each other, and one lane's host code beside another's run.
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


class Lanes(Admission):
    """Serves the calls in line, in order of their rank; `Scheduler` says what the options are."""

    def __init__(
        self,
        run: Callable[..., dict[str, Any]],
        cancel_flag: Callable[[], Any] | None,
        together: Any,
        max_running: int,
        max_waiting: int,
        max_batch: int,
        lanes: int,
    ):
        super().__init__(max_running, max_waiting)
        self._run, self._cancel_flag = run, cancel_flag
        self._together, self._max_batch = together if max_batch > 1 else None, max_batch
        self._lanes, self._idle = lanes, 0
        self._calls: list[Waiting] = []
        self._runs: list[Run] = []  # under way
        self._silent: dict[Request, tuple[float, Any]] = {}  # just served: until when the next call may come; alike
        self._threads: list[threading.Thread] = []

    def _line_up(self, waiting: Waiting) -> None:
        """The end of the line, for a call of a request or of its pipeline."""
        waiting.number, waiting.since = next(self._numbers), time.perf_counter()
        waiting.alike = None if self._together is None else self._together.alike(waiting.name, waiting.inputs)
        self._silent.pop(waiting.request, None)
        self._calls.append(waiting)

    def _wake(self) -> None:
        """See that a lane looks at the line; they are started as they are needed."""
        if self._idle == 0 and len(self._threads) < self._lanes:
            self._threads.append(threading.Thread(target=self._serve, name="spar-scheduler", daemon=True))
            self._threads[-1].start()
        self._changed.notify()

    def _leave(self, request: Request) -> None:
        with self._changed:
            self._silent.pop(request, None)
        super()._leave(request)

    def _serve(self) -> None:
        while (run := self._next_run()) is not None:
            self._answer(run)

    def _next_run(self) -> Run | None:
        """What a lane does next, when it may; None once the engine is closed."""
        with self._changed:
            while not self._closed:
                pause = self._pause() if self._calls else None
                if pause == 0:
                    run = self._begin()
                    self._runs.append(run)
                    if self._calls:
                        self._wake()
                    return run
                self._idle += 1
                self._changed.wait(pause)
                self._idle -= 1
            if not self._runs:
                self._run = self._cancel_flag = None
            return None

    def _pause(self) -> float | None:
        """Seconds until the first call in line may begin; None: not before something changes."""
        now = time.monotonic()
        first = min(self._calls, key=lambda call: call.rank(now)).request.standing(now)
        if any(request.standing(now) > first for run in self._runs for request in run.requests):
            return None  # beside a run of a higher priority it would take processors from it
        if not self._silent:
            return 0
        top = max(call.request.standing(now) for call in self._calls)
        ends = [end for request, (end, alike) in self._silent.items()
                if end > now and self._may_come_first(request.standing(now), alike, top)]  # fmt: skip
        return max(ends) - now if ends else 0

    def _may_come_first(self, standing: int, alike: Any, top: int) -> bool:
        """Whether the next call of one that was just served would come before those in line, of standing `top` at
        most, or could join them. With several lanes none waits for company."""
        if standing != top:
            return standing > top
        return self._lanes == 1 and alike is not None and any(call.alike == alike for call in self._calls)

    def _begin(self) -> Run:
        """The next run: the first call in line, and those that can join it and stand no lower or higher, up to a
        lane's share of them."""
        first = self._take(self._calls)
        members = [first]
        if first.alike is not None:
            now = time.monotonic()
            standing = first.request.standing(now)
            same = [call for call in self._calls
                    if call.alike == first.alike and call.request.standing(now) == standing]  # fmt: skip
            beside = sum(run.size for run in self._runs if run.alike == first.alike)
            share = min(self._max_batch, -(-(1 + len(same) + beside) // self._lanes))
            for call in sorted(same, key=lambda call: call.number)[: share - 1]:
                self._calls.remove(call)
                members.append(call)
        return Run(members, None if self._cancel_flag is None else self._cancel_flag())

    def _answer(self, run: Run) -> None:
        """Make the run, and give each member its outputs."""
        inputs, begin = [member.inputs for member in run.members], time.perf_counter()
        for member in run.members:
            member.request.waited += begin - member.since
        stop = {} if run.flag is None else {"cancel": run.flag}
        joined = inputs[0]
        try:
            if run.size > 1:
                joined = self._together.join(inputs)
            outputs = self._run(run.name, joined, **stop)
            found = [outputs] if run.size == 1 else self._together.split(inputs, outputs)
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
        self._settle(run)

    def _settle(self, run: Run) -> None:
        """A run has ended: its pipelines go on and stand in line again, the others are told."""
        onward = [member for member in run.members if member.goes_on()]
        with self._changed:
            self._runs.remove(run)
            members, run.members = run.members, []
            for member in onward:
                if self._closed:
                    member.error = closed()
                elif not member.left:
                    members.remove(member)
                    self._line_up(member)
            if not self._closed:
                until = time.monotonic() + GRACE_S
                for member in members:
                    if member.work is None and not member.left:
                        self._silent[member.request] = until, run.alike
        for member in members:
            member.end()

    def _answer_each(self, run: Run) -> None:
        members, run.members = run.members, []
        for member in members:
            with self._changed:
                ends = member.left or self._closed
                if self._closed:
                    member.error = closed()
                if run in self._runs:
                    self._runs.remove(run)
                if not ends:
                    member.since = time.perf_counter()
                    run = Run([member], None if self._cancel_flag is None else self._cancel_flag())
                    self._runs.append(run)
            if ends:
                member.end()
                continue
            self._answer(run)
