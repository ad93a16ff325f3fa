"""How long to measure, and what is too noisy to report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Defaults suit kernels of microseconds to milliseconds; `SLOW` suits calls of seconds."""

    turn_seconds: float = 0.04  # wall time of one turn
    least_turns: int = 12  # kept turns of every subject; comparisons need at least 4
    least_samples: int = 6  # in all; with 6 the extremes are a 97 % interval of the median
    most_samples: int = 64  # of one turn
    precision: float = 0.02  # stop when the 95 % interval of the median is within this share of it
    tolerable: float = 0.10  # a wider interval when time is up is an error, not a number
    seconds: float = 8.0  # budget of one subject, discarded turns included; extended until the least turns fit
    foreign: float = 0.05  # CPUs that others may use during a turn
    steal: float = 0.01  # CPUs that the host may take during a turn
    slowdown: float = 0.15  # a turn whose yardstick is slower than the run's best by this share is discarded


KERNELS = Policy()
SLOW = Policy(turn_seconds=0.5, least_turns=7, most_samples=4, seconds=60.0, precision=0.03, tolerable=0.15)
PIPELINE = Policy(turn_seconds=0.5, least_turns=5, least_samples=5, most_samples=1, seconds=120.0, precision=0.03,
                  tolerable=0.15)  # fmt: skip
QUICK = Policy(turn_seconds=0.02, least_turns=6, seconds=1.0, precision=0.05, tolerable=0.25)
POLICIES = {"kernels": KERNELS, "slow": SLOW, "pipeline": PIPELINE, "quick": QUICK}
