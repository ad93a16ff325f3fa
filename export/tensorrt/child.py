"""Runs the builder in a child process: progress, cancelling, peak memory, and what to say when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import BackendError

GRACE = 20.0
"""Seconds that a builder gets to stop by itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a builder left behind."""

    found: dict[str, Any]  # what it says of the plan
    memory: int  # peak, bytes


def run(job: dict[str, Any], watch: Callable[[list[list[Any]]], None]) -> Ended:
    """Build what `job` says.

    watch   told the phases of the builder as it goes: [name, steps done, steps in all], innermost last
    errors  BackendError with the builder's reason; KeyboardInterrupt goes on once the builder has stopped
    """
    command = [sys.executable, "-m", "spar_export.tensorrt.worker"]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words) as child,
    ):
        try:
            with suppress(BrokenPipeError):  # it died before it read the job; its end says why
                child.stdin.write(json.dumps(job).encode())
                child.stdin.close()
            child.stdin = None
            found = _listen(child, watch)
            memory = _wait(child)
        except BaseException:
            _stop(child)
            raise
        words.seek(0)
        said = words.read().decode(errors="replace")
    if found is None or child.returncode:
        raise BackendError(f"{job['component']}: {_death(child.returncode, said)}")
    return Ended(found, memory)


def _listen(child: subprocess.Popen, watch: Callable[[list[list[Any]]], None]) -> dict[str, Any] | None:
    """Follow the builder to its end; what it says of the plan, None when it dies."""
    found = None
    for line in child.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # libraries print to standard output too
        if "error" in said:
            raise BackendError(said["error"])
        found = said.get("done", found)
        if "phases" in said:
            watch(said["phases"])
    return found


def _wait(child: subprocess.Popen) -> int:
    """Wait for the end; peak resident memory in bytes."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024


def _stop(child: subprocess.Popen) -> None:
    """Ask the builder to stop; after a while, make it."""
    if child.returncode is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def _death(code: int, said: str) -> str:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    why = f"; its last words: {lines[-1][:300]}" if lines else ""
    if code == -signal.SIGABRT:
        return f"the builder aborted (its parser does so on plugin layers){why}"
    if code == -signal.SIGKILL:
        return "the builder was killed, most often because memory ran out; close other programs, or build fewer GPUs"
    return f"the builder ended with code {code}{why}"
