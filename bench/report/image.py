"""How long a whole picture takes here, from the result files: what kernels are a share of."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError

from ..harness.environment import cpu
from ..harness.record import read

RESULTS = Path(__file__).resolve().parent.parent / "results"


@cache
def _pictures() -> tuple[dict[str, Any], ...]:
    """Rows of text-to-image runs on this kind of processor."""
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        try:
            record = read(path)
        except ArtefactError:
            continue  # of another version of the schema; compare and refresh say so
        if record["kind"] == "pipeline" and record["environment"]["cpu"]["model"] == cpu()["model"]:
            found += [row for row in record["rows"] if row["what"]["task"] == "generate"]
    return tuple(found)


def image_seconds(preset: str, precision: str, threads: int) -> float | None:
    """Fastest 20-step picture by one of our backends; None when none was measured."""
    times = [
        row["time"]["median"] * 1e-9
        for row in _pictures()
        if row["what"]["preset"] == preset and row["what"]["precision"] == precision
        and row["what"]["threads"] == threads and row["what"]["steps"] == 20 and row["what"]["ours"]
    ]  # fmt: skip
    return min(times, default=None)
