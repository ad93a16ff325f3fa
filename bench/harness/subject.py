"""What can be timed, and what says whether its results are right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from spar_engine.errors import SparError

Arrays = dict[str, np.ndarray]


class BenchError(SparError):
    """A number that must not be reported: a wrong result, a cheating or misused timer, or a machine too noisy."""


@dataclass(frozen=True, slots=True)
class OutputError:
    """Difference of one output from the oracle. `share` is the largest error over what is allowed there; 1 passes."""

    max_abs: float
    rel_l2: float
    share: float
    detail: str = ""


class Oracle(Protocol):
    """Float64 truth of one piece of work at one size."""

    tolerance: str  # in words: what `share` is a share of

    def inputs(self, seed: int) -> Arrays:
        """The inputs that change between calls (weights do not), by name."""

    def expected(self, seed: int) -> Arrays:
        """The exact outputs for them."""

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        """How far `outputs` are from expected(seed), by name; a missing or mis-shaped output is a BenchError."""


class Subject(ABC):
    """One implementation with its buffers. A slot is one set of live buffers, so that short calls can be timed in rows.

    The harness calls `fill` before every timed sample, so results kept from an earlier call are of no use."""

    slots: int = 1

    @abstractmethod
    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        """Write the inputs of `seed` into the live buffers of `slot`, in place; `nudge` moves one element elsewhere,
        a different one for every number, so that no two nudged fills hold the same bytes."""

    @abstractmethod
    def run(self, slot: int) -> None:
        """The work. May return before it is done, if `sync` then waits."""

    def sync(self) -> None:
        """Wait until everything that `run` started is done; the default is for work that returns when done."""
        return

    @abstractmethod
    def outputs(self, slot: int) -> Arrays:
        """Copies of the results, converted to float32/float64 or integers."""

    def live(self, slot: int) -> Arrays:
        """Views of result buffers the caller owns, without a copy; {} when the implementation allocates its own."""
        return {}

    def poison(self, slot: int) -> None:
        """Overwrite the result buffers with NaN (integers: their largest value) before a checked call."""
        for array in self.live(slot).values():
            array.fill(poison_of(array.dtype))

    def extra(self) -> dict[str, Any]:
        """Further measurements for the row, as {name: {"value": number, "unit": text}}."""
        return {}

    def close(self) -> None:
        """Give back what is held."""
        return


def poison_of(dtype: np.dtype) -> Any:
    """NaN of a float type; the bit pattern 0xffff.. (NaN of bf16 and f16 too) of an unsigned one; else the maximum."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).max
    return np.nan if dtype.kind == "f" or dtype.name == "bfloat16" else np.array(0xFF, dtype)


def nudged(base: np.ndarray, live: np.ndarray, nudge: int) -> None:
    """Copy a value of `base` to another place of `live`; both of one shape and type, `live` with any strides."""
    rng = np.random.default_rng((0x5EED, nudge))
    to, by = int(rng.integers(base.size)), int(rng.integers(1, max(2, base.size)))
    live.flat[to] = base.flat[(to + by) % base.size]


@dataclass(slots=True)
class Check:
    """Record of a passed verification."""

    errors: dict[str, OutputError]
    tolerance: str
    seeds: tuple[int, ...]
    probes: list[str] = field(default_factory=list)  # which sabotage checks were made

    def worst(self) -> OutputError:
        return max(self.errors.values(), key=lambda error: error.share)
