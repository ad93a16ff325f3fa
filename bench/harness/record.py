"""Result files: built from measurements, written, read back, checked against `schema.json`. See docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError, MissingDependency

from .environment import environment
from .measure import Measured
from .stats import median_interval

VERSION = 1
SCHEMA = Path(__file__).with_name("schema.json")


def new_file(kind: str, command: str, machine: dict[str, Any] | None) -> dict[str, Any]:
    """An empty result file. `kind` is one of the subcommands; `machine` the roofs used, if any."""
    return {
        "schema": f"spar-bench/{VERSION}", "kind": kind, "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command, "environment": environment(), "machine": machine, "rows": [], "refused": [],
    }  # fmt: skip


def times(measured: Measured) -> dict[str, Any]:
    """Nanoseconds of one call. `turns` are the medians of the kept turns by round; comparisons use these."""
    summary = measured.summary
    return {
        "unit": "ns", "median": summary.median, "p5": summary.p5, "p95": summary.p95,
        "ci95": [summary.ci_low, summary.ci_high],
        "min": summary.minimum, "samples": summary.samples, "inefficiency": round(summary.inefficiency, 2),
        "turns": {str(number): round(median, 1) for number, median in measured.medians().items()},
    }  # fmt: skip


def noise(measured: Measured) -> dict[str, Any]:
    """CPU seconds of others, of the host and of ourselves over the kept turns, and the machine's own speed beside."""
    load = measured.load
    record: dict[str, Any] = {
        "wall_s": round(load.wall, 4), "own_s": round(load.own, 4), "foreign_s": round(max(0.0, load.foreign), 4),
        "steal_s": round(load.steal, 4), "waiting_s": round(load.waiting, 4), "known": load.known,
        "discarded": measured.discarded,
    }  # fmt: skip
    for name in ("compute", "memory"):
        seen = [getattr(yardstick, name) for yardstick in measured.yardsticks]
        if seen:
            low, high = median_interval(seen)
            record[f"yardstick_{name}_s"] = [float(sorted(seen)[len(seen) // 2]), low, high]
    return record


def checked(measured: Measured) -> dict[str, Any] | None:
    """What the oracle said; None for work that has no oracle."""
    if measured.check is None:
        return None
    worst = measured.check.worst()
    return {
        "max_abs": worst.max_abs, "rel_l2": max(error.rel_l2 for error in measured.check.errors.values()),
        "share_of_tolerance": worst.share, "tolerance": measured.check.tolerance, "probes": measured.check.probes,
    }  # fmt: skip


def row(identity: str, what: dict[str, Any], measured: Measured, repro: str, **more: Any) -> dict[str, Any]:
    """One row. `identity` is the same for the same work on every machine and commit; `what` spells it out."""
    made = {
        "id": identity, "what": what, "time": times(measured), "check": checked(measured), "noise": noise(measured),
        "repro": repro, "extra": measured.extra,
    }  # fmt: skip
    return made | {name: value for name, value in more.items() if value is not None}


def refusal(identity: str, what: dict[str, Any], reason: str, repro: str) -> dict[str, Any]:
    """A row that was not earned: a failed check, a machine too noisy, a library that cannot run it."""
    return {"id": identity, "what": what, "reason": reason, "repro": repro}


def write(path: str | Path, record: dict[str, Any]) -> None:
    """Write beside, then rename, so a reader never sees half a file."""
    path = Path(path)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as aside:
            aside.write(text)
        os.chmod(aside.name, 0o644)
        os.replace(aside.name, path)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written: {error.strerror}; choose another --json") from None


def read(path: str | Path) -> dict[str, Any]:
    """A result file of this schema version; anything else is an ArtefactError that says what is wrong."""
    try:
        record = json.loads(Path(path).read_text())
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}; give a file made with --json") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: is not JSON ({error}); give a file made with --json") from None
    found = record.get("schema") if isinstance(record, dict) else None
    if found != f"spar-bench/{VERSION}":
        raise ArtefactError(f"{path}: schema is {found!r}, this version reads 'spar-bench/{VERSION}'; measure again")
    return record


def validate(record: dict[str, Any]) -> None:
    """Check a whole record against the schema file; needs the package jsonschema."""
    try:
        import jsonschema
    except ImportError:
        raise MissingDependency("checking a result file needs jsonschema; pip install 'spar-engine[bench]'") from None
    try:
        jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    except jsonschema.ValidationError as error:
        where = "/".join(map(str, error.absolute_path)) or "the top"
        raise ArtefactError(f"result file: {where}: {error.message.splitlines()[0][:200]}") from None
