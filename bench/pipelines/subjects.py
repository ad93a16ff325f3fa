"""A task on a backend, as something that can be timed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from ..harness.host import energy
from ..harness.subject import Arrays, Subject
from ..harness.synthetic import Opened
from ..peers.backend import open_subject_backend
from .reference import engine_over, oracle_of
from .tasks import TASKS, Setting, asked
from .trace import TracedBackend

FRESH = 1000  # numbers of nudged requests start here; the checked ones are the seeds themselves


class PipelineSubject(Subject):
    """One request of a task. Every timed request asks something new of the same size, so nothing kept can answer it."""

    def __init__(self, weights: Any, backend: Any, setting: Setting):
        self.traced = TracedBackend(backend)
        self.engine = engine_over(weights, self.traced)
        self.setting, self.task = setting, TASKS[setting.task]
        self.seed, self.asked = 0, asked(setting, 0)
        self.answer: Any = None
        self._energy: float | None = None

    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        self.seed, self.asked = seed, asked(self.setting, seed if nudge is None else FRESH + nudge)

    def run(self, slot: int) -> None:
        before = energy()
        self.traced.reset()
        self.answer = self.task.run(self.engine, self.setting, self.asked, self.seed)
        self.traced.finish()
        after = energy()
        self._energy = None if before is None or after is None else after - before

    def poison(self, slot: int) -> None:
        """A call that skips its work leaves no answer."""
        self.answer = None

    def outputs(self, slot: int) -> Arrays:
        return self.task.arrays(self.answer)

    def extra(self) -> dict[str, Any]:
        """Of the last request: its waterfall, and what follows from it."""
        made: dict[str, Any] = {"stages": self.traced.stages()}
        whole, result = self.traced.whole, self.outputs(0)
        if "ids" in result:
            first, count = self.traced.first_token(), len(result["ids"])
            made["answer_tokens"] = {"value": count, "unit": "tokens"}
            if first is not None:
                made["first_token_s"] = {"value": first, "unit": "s"}
                if count > 1 and whole > first:
                    made["tokens_per_s"] = {"value": (count - 1) / (whole - first), "unit": "1/s"}
        if self._energy:
            made["energy_j"] = {"value": self._energy, "unit": "J"}
        return made

    def close(self) -> None:
        self.engine.close()


def import_seconds(tries: int = 5) -> float:
    """Seconds that `import spar_engine` takes in a fresh interpreter, the quickest of some."""
    program = "import time; t = time.perf_counter(); import spar_engine; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
            for _ in range(tries)]  # fmt: skip
    return min(float(run.stdout) for run in runs)


def open_subject(spec: dict[str, Any]) -> Opened:
    """`source`, `random`, `setting`, `subject`, `threads`, `reference`. Loads every component the task needs."""
    from spar_engine.runtime.assemble import open_weights

    weights, setting = open_weights(spec["source"], random_weights=spec["random"]), Setting(**spec["setting"])
    backend = open_subject_backend(spec["subject"], weights, spec["threads"])
    for component in TASKS[setting.task].components:
        backend.load(component)
    oracle = oracle_of(setting.task, spec["reference"], spec["subject"].rpartition("-")[2])
    return Opened(PipelineSubject(weights, backend, setting), oracle, {})
