"""Least time that a piece of work can take on this machine, and which roof says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spar_engine.errors import InputError

# Arithmetic that may serve a type: its own, or a wider one after conversion.
SERVES = {"f32": ("f32",), "bf16": ("bf16", "f32"), "f16": ("f16", "bf16", "f32"), "int8": ("int8", "bf16", "f32"),
          "int4": ("int8", "bf16", "f32")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Roof:
    """`name` as in "DRAM read" or "avx512_bf16"; `seconds` is the least time."""

    name: str
    seconds: float


class Roofs:
    """Look-ups in the machine record."""

    def __init__(self, record: dict[str, Any]):
        self.record = record

    def peak(self, dtype: str, threads: int) -> tuple[str, float]:
        """The instruction set that computes most in `dtype`, and its operations a second."""
        if dtype not in SERVES:
            raise InputError(f"roof: dtype={dtype!r} is unknown; there are {sorted(SERVES)}")
        fitting = [row for row in self.record["peaks"] if row["dtype"] in SERVES[dtype] and row["threads"] == threads]
        if not fitting:
            raise InputError(
                f"roof: no {dtype} peak was measured for {threads} threads; run spar-bench machine --again"
            )
        best = max(fitting, key=lambda row: row["operations_per_s"])
        return best["isa"], best["operations_per_s"]

    def bandwidth(self, working_set: float, threads: int, cold: bool) -> tuple[str, float]:
        """The memory level that a working set comes from, and its bytes a second: the best of reading and copying."""
        rows = [row for row in self.record["streams"] if row["threads"] == threads]
        if not rows:
            raise InputError(f"roof: no bandwidth was measured for {threads} threads; run spar-bench machine --again")
        # A stream of half a level's size was measured; what fits the level at all may come from it.
        levels = sorted({(2 * row["bytes"], row["level"]) for row in rows if row["level"] != "DRAM"})
        level = next((name for size, name in levels if working_set <= size and not cold), "DRAM")
        best = max((row for row in rows if row["level"] == level), key=lambda row: row["bytes_per_s"])
        return f"{level} {best['pass'].replace('_', ' ')}", best["bytes_per_s"]

    def roof(self, flops: float, moved: float, dtype: str, threads: int, *, cold: bool, working_set=None) -> Roof:
        """The binding roof of work with `flops` operations in `dtype` that must move at least `moved` bytes."""
        memory, bandwidth = self.bandwidth(moved if working_set is None else working_set, threads, cold)
        isa, rate = self.peak(dtype, threads)
        computing, moving = Roof(f"{isa} peak", flops / rate), Roof(memory, moved / bandwidth)
        return max(computing, moving, key=lambda roof: roof.seconds)

    def share(
        self, flops: float, moved: float, dtype: str, threads: int, *, cold: bool, seconds: float, working_set=None
    ) -> dict[str, float | str]:
        """What a row says of its roof: name, least seconds, and that over the `seconds` measured."""
        found = self.roof(flops, moved, dtype, threads, cold=cold, working_set=working_set)
        return {"name": found.name, "seconds": found.seconds, "share": found.seconds / seconds}
