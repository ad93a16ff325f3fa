"""Second opinions on the roofs, by other means: numpy streams, assembly by hand, library GEMMs, the clock itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .native import Probe, Rate, level_bytes, peaks, thread_counts

AGREEMENT = 0.15  # of the larger one
GEMM = 1024  # rows, columns and depth of the library's product


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return seconds


def numpy_copy(threads: int, total: int) -> Probe:
    """numpy copying `total` / 2 bytes to elsewhere, one slice a thread; bytes read plus written."""
    share = total // 2 // threads // 8
    pairs = [(np.ones(share), np.zeros(share)) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return Probe({"by": "numpy", "pass": "copy", "threads": threads}, 2 * 8 * share * threads,
                 timed(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))))  # fmt: skip


def numpy_read(threads: int, total: int) -> Probe:
    """numpy taking the maximum of `total` bytes, one slice a thread."""
    share = total // threads // 8
    slices = [np.ones(share) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    return Probe({"by": "numpy", "pass": "read", "threads": threads}, 8 * share * threads,
                 timed(lambda: list(pool.map(np.max, slices))))  # fmt: skip


def gemm(dtype: str, threads: int) -> Probe | None:
    """torch's (oneDNN's) square product, which no roof may be below; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    a, b = (torch.randn(GEMM, GEMM).to(kind) for _ in range(2))
    out = torch.empty(GEMM, GEMM, dtype=kind)

    def seconds() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            torch.mm(a[:64], b)  # wakes the library's threads
            return timed(lambda: torch.mm(a, b, out=out))()
        finally:
            torch.set_num_threads(before)

    return Probe({"by": "gemm", "dtype": dtype, "threads": threads}, 2 * GEMM**3, seconds)


def probes(dtypes: set[str]) -> list[Probe]:
    """One for every roof that has a probe sharing no code with ours; products in those `dtypes`, which have a peak."""
    found = [Probe({"by": "assembly"} | other.what, other.amount, other.seconds) for other in peaks(independent=True)]
    for threads in thread_counts():
        total = level_bytes(threads)["DRAM"]
        found += [numpy_copy(threads, total), numpy_read(threads, total)]
        found += [made for dtype in ("f32", "bf16") if dtype in dtypes and (made := gemm(dtype, threads))]
    return found


def compare(what: str, ours: float, independent: float, *, floor: bool = False) -> dict[str, Any]:
    """`floor`: the other probe may be slower than the roof, for it does more than the roof counts, but never faster."""
    ratio = independent / ours
    agrees = ratio <= 1 + AGREEMENT if floor else 1 - AGREEMENT <= ratio <= 1 / (1 - AGREEMENT)
    return {"what": what, "ours": ours, "independent": independent, "ratio": ratio, "floor": floor, "agrees": agrees}


def cross_checks(
    found_peaks: list[dict], found_streams: list[dict], others: list[tuple[dict, Rate]], clock: float | None
) -> list[dict]:
    """Every roof beside what the `others` found (what a probe was, its rate)."""
    made = [_beside(what, rate.best, found_peaks, found_streams) for what, rate in others]
    return made + (_whole_units(found_peaks, clock) if clock else [])


def _beside(what: dict[str, Any], theirs: float, found_peaks: list[dict], found_streams: list[dict]) -> dict:
    threads = what["threads"]
    same = [row for row in found_peaks if row["threads"] == threads and row["dtype"] == what.get("dtype")]
    dram = [row for row in found_streams if row["threads"] == threads and row["level"] == "DRAM"]
    if what["by"] == "assembly":
        ours = next(row["operations_per_s"] for row in same if row["isa"] == what["isa"])
        return compare(f"{what['isa']} {what['dtype']}, {threads} threads, against assembly", ours, theirs)
    if what["by"] == "gemm":
        best = max(row["operations_per_s"] for row in same)
        return compare(f"{what['dtype']} peak, {threads} threads, against torch's GEMM", best, theirs, floor=True)
    if what["pass"] == "copy":  # libc copies with or without the cache, as it likes
        copies = [row["bytes_per_s"] for row in dram if row["pass"].startswith("copy")]
        ours = min(copies, key=lambda rate: abs(rate - theirs))
        return compare(f"DRAM copy, {threads} threads, against numpy", ours, theirs)
    ours = next(row["bytes_per_s"] for row in dram if row["pass"] == "read")
    return compare(f"DRAM read, {threads} threads, against numpy", ours, theirs, floor=True)


def _whole_units(found_peaks: list[dict], clock: float) -> list[dict]:
    """A vector peak is a whole number of multiply-adds of the full width in every cycle."""
    widths = {("avx2", "f32"): 16, ("avx512", "f32"): 32, ("avx512_bf16", "bf16"): 64, ("avx512_vnni", "int8"): 128}
    made = []
    for row in found_peaks:
        width = widths.get((row["isa"], row["dtype"]))
        if width and row["threads"] == 1:
            each = row["operations_per_s"] / (clock * 1e9 * width)
            units = max(1, round(each)) if each > 0.75 else 0.5
            made.append(compare(f"{row['isa']} {row['dtype']}: {units} vector products a cycle at {clock:.2f} GHz",
                                row["operations_per_s"], units * width * clock * 1e9))  # fmt: skip
    return made
