"""What a build took, as one JSON object: each component, and how its memory compares with the weights."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
from typing import TYPE_CHECKING, Any

from .stale import builder_version

if TYPE_CHECKING:
    from .building import BuiltPlan
    from .settings import Settings


def report(source: str, out: str, settings: Settings, built: list[BuiltPlan], seconds: float) -> dict[str, Any]:
    """The report of one call of `export_plans`.

    seconds  wall time of the call, everything included
    returns  `memory` is the largest peak of a builder, `exporter_memory` that of the process that traces and writes
             weights, `weights` those of the largest component, all in bytes; `memory_over_weights` is null where
             nothing was built
    """
    memory, weights = (max((getattr(item, field) for item in built), default=0) for field in ("memory", "weights"))
    return {
        "model": source, "directory": os.path.basename(os.path.abspath(out)),
        "flavour": settings.flavour.name, "precision": settings.precision,
        "gpu": list(settings.gpus), "options": settings.options(), "builder": builder_version(settings.flavour),
        "machine": {"cpu": processor(), "processors": os.cpu_count(), "system": platform.platform()},
        "seconds": round(seconds, 3), "built": sum(bool(item.reasons) for item in built), "weights": weights,
        "memory": memory, "memory_over_weights": round(memory / weights, 3) if weights else None,
        "exporter_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "components": {item.name: dataclasses.asdict(item) for item in built},
    }  # fmt: skip


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"
