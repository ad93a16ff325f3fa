"""Measures the machine record, keeps it in the user's cache under the machine's fingerprint, and finds it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError
from spar_engine.weights.digest import cache_directory

from ..harness.environment import cpu, gpus
from ..harness.host import between, snapshot
from ..harness.record import write
from . import independent, native
from .gpu import gpu_roofs

RECIPE = 2  # raise when a probe changes what it measures
FOREIGN, STEAL = 0.10, 0.01  # CPUs others may use while the roofs are taken


def fingerprint() -> str:
    """Of everything that moves a roof: processor, instruction sets, microcode, cores, caches, kernel, GPUs, probes."""
    parts = (cpu(), platform.release(), [gpu.get("name") for gpu in gpus()], os.environ.get("SPAR_ISA"), RECIPE)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def cached_path() -> Path:
    return cache_directory() / "bench" / f"machine-{fingerprint()}.json"


def measure_machine(runs: int = 25) -> dict[str, Any]:
    """Takes about a minute; `disturbed` lists what makes the record doubtful, and is empty on a quiet machine."""
    before = snapshot()
    clock = native.clock_ghz()
    ours, passes = native.peaks(), native.streams()
    others = independent.probes({probe.what["dtype"] for probe in ours})
    rates = native.take_turns([*ours, *passes, *others], runs)
    load = between(before, snapshot())
    found = [(probe.what, rate) for probe, rate in zip([*ours, *passes, *others], rates, strict=True)]
    peaks = [_row(*one, "operations_per_s") for one in found[: len(ours)]]
    streams = [_row(*one, "bytes_per_s") for one in found[len(ours) :][: len(passes)]]
    checks = independent.cross_checks(peaks, streams, found[len(ours) + len(passes) :], clock)
    return {
        "fingerprint": fingerprint(), "clock_ghz": clock, "peaks": peaks, "streams": streams, "gpu": gpu_roofs(),
        "checks": checks, "disturbed": disturbances(load, peaks, streams, checks),
        "noise": {"wall_s": load.wall, "foreign_s": load.foreign, "steal_s": load.steal, "known": load.known},
    }  # fmt: skip


def _row(what: dict[str, Any], rate: native.Rate, unit: str) -> dict[str, Any]:
    return what | {unit: rate.best, "typical": rate.typical}


def disturbances(load: Any, peaks: list[dict], streams: list[dict], checks: list[dict]) -> list[str]:
    """In words: who else worked, which probe was unsteady, which two probes disagree."""
    found = []
    if not load.known:
        found.append("this system does not tell what else ran")
    if load.share("foreign") > FOREIGN:
        found.append(f"others used {load.share('foreign'):.2f} CPUs while the roofs were taken")
    if load.share("steal") > STEAL:
        found.append(f"the host took {load.share('steal'):.2f} CPUs while the roofs were taken")
    for row in (*peaks, *streams):
        best, typical = row.get("operations_per_s") or row["bytes_per_s"], row["typical"]
        if typical < (1 - native.SLACK) * best:
            name = f"{row['isa']} {row['dtype']}" if "isa" in row else f"{row['level']} {row['pass']}"
            found.append(f"{name} on {row['threads']} threads was unsteady: its middle run is {1 - typical / best:.0%} "
                         "below its best")  # fmt: skip
    for check in checks:
        if not check["agrees"]:
            found.append(f"{check['what']}: {check['ratio']:.2f} of ours")
    return found


def load_machine() -> dict[str, Any] | None:
    """The cached record of this very machine, or None."""
    path = cached_path()
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); run spar-bench machine --again") from None
    return record if record.get("fingerprint") == fingerprint() else None


def save_machine(record: dict[str, Any]) -> Path:
    write(cached_path(), record)
    return cached_path()
