"""When each component ran within one request: the waterfall, and the first token."""

from __future__ import annotations

import time
from typing import Any


class TracedBackend:
    """A backend that notes start and duration of every run; everything else is the backend's own."""

    def __init__(self, backend: Any):
        self._backend = backend
        self.start = time.perf_counter()
        self.events: list[tuple[str, float, float]] = []  # component, start, seconds
        self.whole = 0.0

    def reset(self) -> None:
        """Begin a new request."""
        self.events, self.whole, self.start = [], 0.0, time.perf_counter()

    def finish(self) -> None:
        """The request is answered."""
        self.whole = time.perf_counter() - self.start

    def run(self, component: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        begin = time.perf_counter()
        try:
            return self._backend.run(component, *arguments, **options)
        finally:
            self.events.append((component, begin - self.start, time.perf_counter() - begin))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def stages(self) -> list[dict[str, Any]]:
        """For the result file. Between the components lies the stage "host": tokens, noise, schedule, pixels."""
        found, at = [], 0.0
        for name, begin, took in [*self.events, (None, self.whole, 0.0)]:
            if begin > at:
                found.append(("host", at, begin - at))
            if name:
                found.append((name, begin, took))
            at = max(at, begin + took)
        return [{"name": name, "start_s": round(begin, 6), "seconds": round(took, 6)} for name, begin, took in found]

    def first_token(self) -> float | None:
        """Seconds until the first token was chosen; None for a request without an answer."""
        ends = [begin + took for name, begin, took in self.events if name == "lm_head"]
        return ends[0] if ends else None
