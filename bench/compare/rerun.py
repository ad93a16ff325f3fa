"""Both sides again, in one run, turn by turn: what a busy or drifting machine cannot fake."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import BackendError

from ..harness.environment import cpu, environment
from ..harness.measure import measure
from ..harness.policy import Policy
from ..harness.remote import Worker
from ..harness.subject import BenchError
from .judge import Sample, Verdict, judge

SPECS = {"kernels": "spar_bench.kernels.run", "components": "spar_bench.components.run",
         "pipeline": "spar_bench.pipelines.run"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two files, and the interpreter in which its commit is installed."""

    record: dict[str, Any]
    python: str | None

    def why_not(self) -> str | None:
        """Why its rows cannot be run here, or None when they can."""
        wanted = self.record["environment"]
        try:
            with Worker(threads=cpu()["cores"], python=self.python) as worker:
                found = worker.ask("call", module=environment.__module__, function="environment", arguments={})
        except BenchError as error:
            return f"its interpreter does not start: {error}"
        if found["cpu"] != wanted["cpu"]:
            return "it was measured on another machine"
        if found["commit"] is None and wanted["commit"] is None:
            same = found["versions"].get("spar-engine") == wanted["versions"].get("spar-engine")
            return None if same else "another version is installed"
        if found["commit"] is None or wanted["commit"] is None or found["commit"]["id"] != wanted["commit"]["id"]:
            return "another commit is installed; give the interpreter that has it with --python-a or --python-b"
        if found["commit"]["dirty"] or wanted["commit"]["dirty"]:
            return "its checkout has uncommitted changes"
        return None


def rerun(kind: str, row_a: dict, row_b: dict, side_a: Side, side_b: Side, policy: Policy, margin: float) -> Verdict:
    """Measure one row on both sides, interleaved; BackendError when it cannot be measured."""
    specify = importlib.import_module(SPECS[kind]).spec_of
    threads = row_a["what"]["threads"]
    with tempfile.TemporaryDirectory() as folder, Worker(threads=threads, python=side_a.python) as worker_a, \
            Worker(threads=threads, python=side_b.python) as worker_b:  # fmt: skip
        try:
            players = [worker_a.player(specify(row_a, "before", folder)),
                       worker_b.player(specify(row_b, "after", folder))]  # fmt: skip
        except BenchError as error:
            raise BackendError(f"{row_a['id']}: cannot be measured again: {error}") from None
        done = measure(players, policy)
    for measured in done.values():
        if measured.problem is not None:
            raise BackendError(f"{row_a['id']}: cannot be measured again: {measured.problem}")
    before, after = (Sample(done[name].medians()) for name in ("before", "after"))
    return judge(row_a["id"], before, after, margin, paired=True)
