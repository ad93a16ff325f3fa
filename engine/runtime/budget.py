"""A backend within a budget of memory: components are unloaded to make room or run in strips, requests are admitted or
refused."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ..components import components
from ..errors import Busy, OverBudget
from .plan import Plan, need


class Budgeted:
    """Runs the components of a backend, one at a time, within `budget` bytes less `caches`.

    A component that is needed takes the place of those that were not used for the longest time; their next run loads
    them again. One that is too large even alone runs in strips, as few as fit, where the backend can cut it. A
    request is refused before it starts when it cannot fit, or not beside those that run.
    """

    def __init__(self, backend: Any, budget: int, caches: int):
        self._backend, self._specs = backend, components(backend.config)
        self._room = budget - caches
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, int] = OrderedDict()  # component -> bytes of weights, least recently used first
        self._running: list[Plan] = []
        self.unloads = self.cut_runs = 0
        self.strips: tuple[int, int] | None = None  # of the run that is made now, or was last

    @staticmethod
    def check(plan: Plan) -> Plan:
        """`plan`; OverBudget when it does not fit even alone."""
        if plan.verdict == "does not fit":
            raise OverBudget(
                f"{plan.task} needs {_mega(plan.least_in_strips)} with one component loaded at a time, of them "
                f"{_mega(plan.largest)} for the largest and {_mega(plan.caches)} for caches; memory_budget is "
                f"{_mega(plan.budget)}: raise it, or ask for something smaller"
            )
        return plan

    @contextlib.contextmanager
    def admitted(self, plan: Plan) -> Iterator[None]:
        """Keep room for a request; Busy when there is none beside what runs."""
        with self._lock:
            every = [*self._running, plan]
            if max(other.largest for other in every) + sum(other.values for other in every) > self._room:
                raise Busy(f"busy: {len(self._running)} requests hold the memory that {plan.task} needs; "
                           "try again later")  # fmt: skip
            self._running.append(plan)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(plan)

    def run(self, component: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
        """`run` of the backend, after making room. Called by one thread at a time."""
        needed = need(self._backend, component, self._specs[component].check(inputs))
        with self._lock:
            room = self._room - sum(plan.values for plan in self._running)
        self.strips = needed.strips(room)
        scratch = needed.scratch
        if self.strips is not None:
            more["strips"], scratch = self.strips, needed.cut[self.strips]
            self.cut_runs += 1
        self._loaded.pop(component, None)
        self._backend.trim()
        while self._loaded and sum(self._loaded.values()) + needed.weights + scratch > room:
            oldest, _ = self._loaded.popitem(last=False)
            self._backend.unload(oldest)
            self.unloads += 1
        self._loaded[component] = needed.weights
        return self._backend.run(component, inputs, **more)


def _mega(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
