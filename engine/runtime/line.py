"""Who goes next: one request's place among others, and the two things it may wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Hashable
from typing import Any

from ..errors import Cancelled, DeadlineExceeded, SparError
from ..pipelines.call import Pipeline, Timings, next_run
from ..requests import Terms

AHEAD = 8
"""How many places in line one level of priority is worth. Finite, so that nothing waits for ever."""
POLL_S = 0.01
"""How often a waiting request asks whether it was cancelled or is late."""
START = "a start"


class Waiting:
    """A request in line for a start, or for the backend: with one call, or with those of a pipeline one after another.

    name, inputs  what is waited for now: a component and its inputs, or START
    work, offers  the pipeline that asks for it and goes on with its outputs, and the offers that it may make
    """

    __slots__ = ("alike", "done", "error", "inputs", "left", "name", "number", "offers", "outputs", "request", "run",
                 "since", "work")  # fmt: skip

    def __init__(
        self,
        request: Request,
        name: str,
        inputs: dict[str, Any] | None = None,
        work: Pipeline[Any] | None = None,
        offers: Collection[str] = (),
    ):
        self.request = request
        self.name, self.inputs = name, inputs
        self.work, self.offers = work, offers
        self.outputs: Any = None  # of the call, or the result of the pipeline
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.since = time.perf_counter()
        self.alike: Hashable | None = None  # calls of the same value may be one run
        self.run: Run | None = None  # once it has begun
        self.left = False  # nobody wants its outputs any more
        self.number = 0

    @property
    def place(self) -> str:
        """Where the request stands, for errors."""
        return self.name if self.name == START else f"a run of {self.name}"

    def rank(self, now: float) -> float:
        """The least goes first: order of arrival, moved forward by priority and by a deadline that comes near."""
        return self.number - AHEAD * self.request.standing(now)

    def goes_on(self) -> bool:
        """Give the outputs of a run to the pipeline; whether it asks for another one, which then stands here."""
        if self.work is None or self.error is not None or self.left:
            return False
        outputs, self.outputs, self.inputs = self.outputs, None, None
        try:
            wanted = next_run(self.work, outputs, self.offers)
        except StopIteration as finished:
            self.outputs = finished.value
        except BaseException as error:
            self.error = error
        else:
            self.name, self.inputs = wanted.component, wanted.inputs
            return True
        return False

    def end(self) -> None:
        """Nothing of it runs any more: free what it holds but for the result, and wake who waits."""
        work, self.work, self.inputs = self.work, None, None
        if work is not None:
            work.close()
        self.done.set()

    def result(self) -> Any:
        """Outputs, or the error raised; keeps neither."""
        error, outputs = self.error, self.outputs
        self.error = self.outputs = self.inputs = None
        if error is None:
            return outputs
        try:
            raise error
        finally:
            del error


class Run:
    """One run of the backend, for one call or for several."""

    __slots__ = ("alike", "flag", "members", "name", "requests", "size")

    def __init__(self, members: list[Waiting], flag: Any):
        self.members = members  # emptied when it has ended
        self.requests = [member.request for member in members]
        self.size = len(members)
        self.name, self.alike = members[0].name, members[0].alike
        self.flag = flag  # stops it, where the backend can
        for member in members:
            member.run = self

    @property
    def deserted(self) -> bool:
        """Whether nobody wants its outputs any more."""
        return all(member.left for member in self.members)

    def leave(self, member: Waiting) -> None:
        """One member less; the last one stops it."""
        member.left = True
        if self.deserted and self.flag is not None:
            self.flag.set()


class Request:
    """One request that the scheduler knows: its terms, and what it has used."""

    def __init__(self, number: int, task: str, terms: Terms):
        self.number = number  # unique in one engine
        self.task = task
        self.terms = terms
        self.timings = Timings()
        self.waited = 0.0  # seconds in line, in all

    def report(self, begin: float) -> dict[str, Any]:
        """Timings for a result of this request, which began at `begin` of time.perf_counter()."""
        return {"total": time.perf_counter() - begin, "waited": self.waited, "components": self.timings.as_dict()}

    def standing(self, now: float) -> int:
        """The priority, and one level more when over half of the time up to the deadline has gone."""
        terms = self.terms
        urgent = terms.deadline is not None and now > (terms.begin + terms.deadline) / 2
        return terms.priority + urgent

    def refusal(self, where: str) -> SparError | None:
        """The error that ends this request now, if it was cancelled or is late."""
        terms = self.terms
        if terms.deadline is not None and time.monotonic() >= terms.deadline:
            allowed = terms.deadline - terms.begin
            return DeadlineExceeded(f"{self.task}: deadline={allowed:g} s passed at {where}; allow more time")
        if terms.cancelled is not None and terms.cancelled():
            return Cancelled(f"cancelled before {where}")
        return None

    def wait(self, waiting: Waiting) -> SparError | None:
        """Wait until `waiting` is done; returns the error that ends the request when that comes first."""
        if self.terms.cancelled is None and self.terms.deadline is None:
            waiting.done.wait()
            return None
        while not waiting.done.wait(POLL_S):
            if (error := self.refusal(waiting.place)) is not None:
                return error
        return None
