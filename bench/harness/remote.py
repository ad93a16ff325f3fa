"""The parent's end of a worker: starts it with its threads and cores fixed, and hands out players."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .host import Load
from .subject import BenchError, Check, OutputError
from .turn import Turn

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# numpy only fills inputs and computes oracles. A pool of its own would go on spinning into the turns of other workers.
NUMPY = {"OPENBLAS_NUM_THREADS": "1"}


class Worker:
    """One child process.

    python   interpreter to use; another one measures another installation
    threads  compute threads its libraries may use
    cpus     CPUs that the process is confined to; None: as many as threads
    log      file that takes what its libraries print; None drops it
    """

    def __init__(
        self, *, threads: int, cpus: int | None = None, python: str | None = None, log: Any = None,
        environment: dict | None = None,
    ):  # fmt: skip
        allowed = sorted(os.sched_getaffinity(0))
        for name, count in (("threads", threads), ("cpus", threads if cpus is None else cpus)):
            if not 1 <= count <= len(allowed):
                raise BenchError(f"{name}={count} must be from 1 to {len(allowed)}, the CPUs of this process")
        chosen = allowed[:count]
        self.threads = threads
        interpreter = python or sys.executable
        try:
            self._child = subprocess.Popen(
                [interpreter, "-m", "spar_bench.harness.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log or subprocess.DEVNULL, text=True,
                env=os.environ | dict.fromkeys(THREADS, str(threads)) | NUMPY | (environment or {}),
                preexec_fn=lambda: os.sched_setaffinity(0, chosen),
            )  # fmt: skip
        except OSError as error:
            raise BenchError(f"{interpreter} cannot be started: {error.strerror}; give another interpreter") from None

    def ask(self, do: str, **arguments: Any) -> Any:
        """One call; a refusal, or a worker that died, is a BenchError."""
        try:
            self._child.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            code = self._child.wait()
            reason = "killed, probably for lack of memory" if code == -9 else f"ended with code {code}"
            raise BenchError(f"the worker was {reason} during `{do}`")
        answer = json.loads(line)
        if "refused" in answer:
            raise BenchError(answer["refused"])
        return answer["ok"]

    def player(self, spec: dict[str, Any]) -> RemotePlayer:
        """Open the subject that `spec` describes in the worker."""
        opened = self.ask("open", spec=spec)
        return RemotePlayer(self, spec["name"], opened["handle"], opened["opening_s"], opened["about"])

    def alive(self) -> bool:
        return self._child.poll() is None

    def memory(self) -> dict[str, int]:
        """`rss` and `peak_rss` of the worker, bytes."""
        return self.ask("memory")

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.stdin.close()
            try:
                self._child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._child.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemotePlayer:
    """A subject in a worker."""

    def __init__(self, worker: Worker, name: str, handle: int, opening_s: float, about: dict[str, Any]):
        self.worker, self.name, self._handle, self.opening_s, self.about = worker, name, handle, opening_s, about

    def ready(self, turn_seconds: float, most_samples: int) -> Check | None:
        told = self.worker.ask("ready", handle=self._handle, turn_seconds=turn_seconds, most_samples=most_samples)
        check = told["check"]
        if check is None:
            return None
        errors = {name: OutputError(**error) for name, error in check["errors"].items()}
        return Check(errors, check["tolerance"], tuple(check["seeds"]), check["probes"])

    def turn(self) -> Turn:
        told = self.worker.ask("turn", handle=self._handle)
        return Turn(told["samples"], Load(**told["load"]), told["extra"])

    def close(self) -> None:
        self.worker.ask("close", handle=self._handle)


def close_all(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.close()
