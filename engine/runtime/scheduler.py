"""Many requests on one backend.

Only heavy calls come here. A request that watches its events drives its own pipeline in its caller's thread, and comes
with one call at a time; any other hands its whole pipeline over and is woken with the result. Either way the calls are
served in order of arrival, so that requests take turns call by call: a decoded token between two sampler steps. A run
is one call, or several that the backend can join without changing a bit of any: so a result is the same whatever else
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ..pipelines.call import Pipeline, next_run
from .admission import closed
from .lanes import Lanes
from .line import Request, Waiting

Result = TypeVar("Result")


class Scheduler(Lanes):
    """Admits requests and serves their calls.

    run          the backend's `run(component, inputs)`; with `cancel=` where there is a cancel_flag
    cancel_flag  makes the flag that stops a run of the backend; None: runs cannot be stopped once they have begun
    together     `alike`, `join` and `split` of a backend whose calls can be joined exactly (backends/together.py)
    max_running, max_waiting  see `Admission`
    max_batch    calls of one run
    lanes        runs at a time; more than one only where `run` may be called from several threads
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
        lanes: int = 1,
    ):
        super().__init__(run, cancel_flag, together, max_running, max_waiting, max_batch, lanes)

    def call(self, request: Request, component: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs of one run for an admitted request, when its turn comes."""
        return self._serve_in_turn(Waiting(request, component, inputs))

    def drive(self, request: Request, work: Pipeline[Result], offers: Collection[str] = ()) -> Result:
        """Result of a pipeline whose events nobody watches. From its first call on it goes on in the scheduler's
        threads, so that its caller is woken once and calls of several pipelines that began together stay together.

        offers  names of the `Offer`s that the backend takes
        """
        try:
            first = next_run(work, None, offers)
        except StopIteration as finished:
            return finished.value
        return self._serve_in_turn(Waiting(request, first.component, first.inputs, work, offers))

    def close(self, wait: bool = True) -> None:
        """End every request with BackendError; with `wait`, return when the backend is idle."""
        with self._changed:
            self._closed = True
            ended = [*self._starts, *self._calls]
            self._starts.clear()
            self._calls.clear()
            self._silent.clear()
            for waiting in ended:
                waiting.error = closed()
                waiting.end()
            for run in self._runs:
                if run.flag is not None:
                    run.flag.set()
            self._changed.notify_all()
            if not self._threads:
                self._run = self._cancel_flag = None
        if wait:
            for thread in tuple(self._threads):
                thread.join()

    def _serve_in_turn(self, waiting: Waiting) -> Any:
        request = waiting.request
        if (error := request.refusal(waiting.place)) is not None:
            raise error
        with self._changed:
            self._refuse_closed()
            self._line_up(waiting)
            self._wake()
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

    def _withdraw(self, waiting: Waiting) -> bool:
        """Take a call back; False when it has begun, and then it is told to stop unless others want it."""
        with self._changed:
            if waiting in self._calls:
                self._calls.remove(waiting)
                waiting.end()
                return True
            if waiting.run is None:  # the engine was closed meanwhile
                return True
            waiting.run.leave(waiting)
            return False
