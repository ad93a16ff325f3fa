"""A fixed piece of work beside every turn: how fast was the machine itself just then?"""

from __future__ import annotations

from dataclasses import dataclass

SWEEP_BYTES = 64 << 20
CHAIN = 200_000  # iterations of 8 additions


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Seconds of two fixed loops of one thread; what they do stays the same for ever, so files can be compared."""

    compute: float  # 1.6 million dependent additions in registers: the core's clock
    memory: float  # one read of 64 MiB


def yardstick() -> Yardstick | None:
    """About 3 ms of work; None without the native module, in which case drift of the machine cannot be told."""
    try:
        from spar_engine._native import roofs
    except ImportError:
        return None
    return Yardstick(roofs.time_chain(CHAIN), roofs.time_sweep(SWEEP_BYTES))
