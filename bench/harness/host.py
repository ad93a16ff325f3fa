"""What else happened on the machine while we measured: steal, foreign CPU and our own, from Linux's counters."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
PRESSURE = Path("/proc/pressure/cpu")
TICK = 1.0 / os.sysconf("SC_CLK_TCK")  # seconds; resolution of /proc/stat


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters at one moment, all in seconds; `None` where the system has no such counter."""

    wall: float
    own: float  # CPU time of this process, all threads
    busy: float | None  # CPU time of everyone, without steal
    steal: float | None  # time in which the host ran somebody else on our CPUs
    waiting: float | None  # time in which some task was ready but had no CPU


def snapshot() -> Snapshot:
    """Read the counters now; about 30 microseconds."""
    busy = steal = waiting = None
    with contextlib.suppress(OSError, ValueError):
        ticks = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1:]]
        user, nice, system, _, _, irq, soft, stolen = ticks[:8]
        busy, steal = (user + nice + system + irq + soft) * TICK, stolen * TICK
    with contextlib.suppress(OSError, ValueError, IndexError):
        waiting = int(PRESSURE.read_text().split("total=", 1)[1].split()[0]) * 1e-6
    return Snapshot(time.perf_counter(), time.process_time(), busy, steal, waiting)


@dataclass(slots=True)
class Load:
    """CPU seconds over a stretch of wall time. `foreign` is everyone's less our own.

    Everyone's are counted in ticks, so that of a short stretch may be below 0; over many the error cancels, which it
    would not if it were cut off at 0."""

    wall: float = 0.0
    own: float = 0.0
    foreign: float = 0.0
    steal: float = 0.0
    waiting: float = 0.0
    known: bool = True  # False: this system does not tell, so a disturbance cannot be seen

    def add(self, other: Load) -> None:
        for name in ("wall", "own", "foreign", "steal", "waiting"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.known = self.known and other.known

    def share(self, name: str) -> float:
        """`foreign` or `steal` as a share of the wall time, in CPUs; never below 0."""
        return max(0.0, getattr(self, name)) / self.wall if self.wall else 0.0

    def steal_disturbed(self, limit: float) -> bool:
        """Whether the host took more than `limit` CPUs, beyond the counter's resolution of one tick."""
        return self.steal - TICK > limit * self.wall

    def foreign_disturbed(self, limit: float) -> bool:
        """Whether others used more than `limit` CPUs. Within the counter's resolution (two ticks) they must also have
        made someone wait, which is counted in microseconds."""
        excess = self.foreign - limit * self.wall
        return excess > 2 * TICK or (excess > 0 and self.waiting > max(limit * self.wall, 0.001))


def between(before: Snapshot, after: Snapshot, others: float = 0.0) -> Load:
    """Load from `before` to `after`; `others` is CPU time of processes that belong to this measurement."""
    own = after.own - before.own + others
    if before.busy is None or after.busy is None:
        return Load(wall=after.wall - before.wall, own=own, known=False)
    waiting = 0.0 if before.waiting is None or after.waiting is None else after.waiting - before.waiting
    return Load(
        wall=after.wall - before.wall, own=own, foreign=after.busy - before.busy - own,
        steal=after.steal - before.steal, waiting=waiting,
    )  # fmt: skip


def peak_rss() -> int:
    """Largest resident set of this process so far, bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rss() -> int:
    """Resident set of this process now, bytes; 0 where /proc is absent."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def energy() -> float | None:
    """Joules counted so far by the processor packages (RAPL), or None where they cannot be read."""
    total, found = 0.0, False
    for counter in Path("/sys/class/powercap").glob("intel-rapl:*/energy_uj"):
        if counter.parent.name.count(":") == 1:  # packages only, not their sub-domains
            try:
                total, found = total + int(counter.read_text()) * 1e-6, True
            except (OSError, ValueError):
                return None
    return total if found else None
