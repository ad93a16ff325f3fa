"""A child process that owns subjects: one JSON object a line comes in, one goes out.

Each library under test lives in a worker of its own, so that thread pools, allocators and memory peaks do not mix. The
worker's real standard output carries the protocol; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from typing import Any

OPENERS = {
    "kernel": "spar_bench.kernels.subjects",
    "component": "spar_bench.components.subjects",
    "pipeline": "spar_bench.pipelines.subjects",
    "synthetic": "spar_bench.harness.synthetic",
}


class Served:
    """Subjects by handle."""

    def __init__(self) -> None:
        self._players: dict[int, Any] = {}
        self._next = 0

    def open(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Build the subject that `spec` describes; its `kind` names the module whose `open_subject` does it."""
        from .measure import LocalPlayer

        start = time.perf_counter()
        opened = importlib.import_module(OPENERS[spec["kind"]]).open_subject(spec)
        took = time.perf_counter() - start
        self._next += 1
        cold, seeds = spec.get("cold", False), tuple(spec.get("seeds", (0, 1)))
        self._players[self._next] = LocalPlayer(spec["name"], opened.subject, opened.oracle, cold=cold, seeds=seeds)
        return {"handle": self._next, "opening_s": took, "about": opened.about}

    def ready(self, handle: int, turn_seconds: float, most_samples: int) -> dict[str, Any]:
        check = self._players[handle].ready(turn_seconds, most_samples)
        return {"check": None if check is None else asdict(check)}

    def turn(self, handle: int) -> dict[str, Any]:
        return asdict(self._players[handle].turn())

    def call(self, module: str, function: str, arguments: dict[str, Any]) -> Any:
        """Call a function of this package in the worker's process."""
        if not module.startswith("spar_bench."):
            raise ValueError(f"module {module!r} is not of this package")
        return getattr(importlib.import_module(module), function)(**arguments)

    def memory(self) -> dict[str, Any]:
        from .host import peak_rss, rss

        return {"rss": rss(), "peak_rss": peak_rss()}

    def close(self, handle: int) -> dict[str, Any]:
        import gc

        self._players.pop(handle).subject.close()
        gc.collect()
        return {}


def serve() -> None:
    from spar_engine.errors import SparError

    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    served = Served()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = {"ok": getattr(served, message["do"])(**message["with"])}
        except SparError as error:
            answer = {"refused": str(error)}
        except MemoryError:
            answer = {"refused": "not enough memory"}
        except Exception as error:
            traceback.print_exc()
            answer = {"refused": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        replies.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve()
