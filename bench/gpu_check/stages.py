"""Stages of the check: each a process of its own with a time limit, whose failure stops nothing else.

A stage writes rows (JSON objects, one a line) to the file named last on its command line, as it finds them; what it
wrote before it failed or ran out of time counts. A row with "ok": false fails the stage.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spar_engine.backends import gpu

TAIL = 4000  # characters of a stage's output that are kept
GPU = "an NVIDIA GPU"  # as a need of a stage
LEAST = 5.0  # seconds; a stage that would get less is not started


@dataclass(frozen=True, slots=True)
class Stage:
    """One process.

    command  program and arguments; the rows' file is appended
    limit    seconds that it may take
    needs    programs, "module:NAME" for importable modules, or `GPU`; where one is missing the stage is skipped
    """

    name: str
    command: tuple[str, ...]
    limit: float
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: exit code, or None when its time was over; the end of what it printed."""

    code: int | None
    tail: str


def execute(command: Sequence[str], limit: float, log: Path) -> Ended:
    """Run a process and all that it starts, for at most `limit` seconds."""
    with log.open("wb") as output:
        try:
            started = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True)  # fmt: skip
        except OSError as error:
            return Ended(127, str(error))
        try:
            code = started.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    return Ended(code, log.read_text("utf-8", "replace")[-TAIL:])


def missing(needs: Sequence[str]) -> list[str]:
    """What of `needs` this machine does not have."""

    def there(need: str) -> bool:
        if need == GPU:
            return gpu.present() or shutil.which("nvidia-smi") is not None
        kind, _, name = need.partition(":")
        return importlib.util.find_spec(name) is not None if kind == "module" else shutil.which(need) is not None

    return [need.removeprefix("module:") for need in needs if not there(need)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows that a stage has written; a last line that was cut off is left out."""
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def run_stages(
    stages: Sequence[Stage],
    budget: float,
    folder: Path,
    *,
    run: Callable[[Sequence[str], float, Path], Ended] = execute,
    lacking: Callable[[Sequence[str]], list[str]] = missing,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
    after: Callable[[list[dict[str, Any]]], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Run all stages within `budget` seconds; returns for each its status, reason, seconds, rows and last output, and
    hands what there is so far to `after` each time.

    status  "passed", "failed", "timed out", or "skipped" with the reason: a tool that is missing, or no time left
    """
    begin, done = clock(), []
    for stage in stages:
        start, left = clock(), budget - (clock() - begin)
        found: dict[str, Any] = {"stage": stage.name, "status": "skipped", "reason": None, "seconds": 0.0, "rows": [],
                                 "tail": ""}  # fmt: skip
        if absent := lacking(stage.needs):
            found["reason"] = f"not on this machine: {', '.join(absent)}"
        elif left < LEAST:
            found["reason"] = f"no time left of {budget:g} s"
        else:
            limit, rows = min(stage.limit, left), folder / f"{stage.name}.jsonl"
            ended = run((*stage.command, str(rows)), limit, folder / f"{stage.name}.log")
            found |= {"rows": rows_of(rows), "tail": ended.tail, "seconds": round(clock() - start, 2)}
            found["status"], found["reason"] = _verdict(ended, found["rows"], limit)
        say(line(found))
        done.append(found)
        after(done)
    return done


def _verdict(ended: Ended, rows: list[dict[str, Any]], limit: float) -> tuple[str, str | None]:
    wrong = [row.get("name", "a row") for row in rows if row.get("ok") is False]
    if ended.code is None:
        return "timed out", f"took longer than {limit:.0f} s"
    if wrong:
        return "failed", f"{len(wrong)} of {len(rows)} rows: {', '.join(wrong[:3])}"
    if ended.code:
        last = (ended.tail.strip().splitlines() or ["it printed nothing"])[-1]
        return "failed", f"exit code {ended.code}: {last[:160]}"
    return "passed", None


def line(found: dict[str, Any]) -> str:
    """One line of the table."""
    told = found["reason"] or _told(found["rows"])
    return f"{found['stage']:<29} {found['status']:<9} {found['seconds']:7.1f} s  {told}"


def _told(rows: list[dict[str, Any]]) -> str:
    checks, times = [row for row in rows if "ok" in row], [row for row in rows if "ms" in row]
    parts = []
    if checks:
        parts.append(f"{len(checks)} checks")
    if times:
        parts.append(f"{len(times)} times")
    return ", ".join(parts)


class Rows:
    """What a stage writes to, one row at a time, so that a killed stage leaves what it found."""

    def __init__(self, path: str | Path):
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115
        self.failed = False

    def add(self, name: str, **values: Any) -> None:
        """One row. `ok` False makes the stage fail."""
        self.failed |= values.get("ok") is False
        self._file.write(json.dumps({"name": name, **values}) + "\n")
        self._file.flush()
        print(name, *(f"{key}={value}" for key, value in values.items()), flush=True)

    def attempt(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """The row that `work` gives; an exception becomes a failed row."""
        try:
            self.add(name, **work())
        except Exception as error:
            self.add(name, ok=False, error=f"{type(error).__name__}: {str(error)[:500]}")

    def close(self) -> int:
        """The exit code of the stage."""
        self._file.close()
        return int(self.failed)
