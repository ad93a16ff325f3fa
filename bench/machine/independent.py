"""Second opinions on the roofs, by other means: numpy streams, assembly by hand, library GEMMs, the clock itself."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .native import best_rate, peaks, thread_counts

AGREEMENT = 0.15  # of the larger one


def numpy_copy(threads: int, total: int, runs: int) -> float:
    """Bytes a second (read plus written) of numpy copying `total` / 2 to elsewhere, one slice a thread."""
    share = total // 2 // threads // 8
    pairs = [(np.ones(share), np.zeros(share)) for _ in range(threads)]

    with ThreadPoolExecutor(threads) as pool:

        def once() -> float:
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))
            return time.perf_counter() - start

        return best_rate(once, 2 * 8 * share * threads, runs).best


def numpy_read(threads: int, total: int, runs: int) -> float:
    """Bytes a second of numpy taking the maximum of `total` bytes, one slice a thread."""
    share = total // threads // 8
    slices = [np.ones(share) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def once() -> float:
            start = time.perf_counter()
            list(pool.map(np.max, slices))
            return time.perf_counter() - start

        return best_rate(once, 8 * share * threads, runs).best


def gemm(dtype: str, threads: int, size: int, runs: int) -> float | None:
    """Operations a second of torch's (oneDNN's) square product, which no roof may be below; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        a, b = (torch.randn(size, size).to(kind) for _ in range(2))
        out = torch.empty(size, size, dtype=kind)

        def once() -> float:
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            return time.perf_counter() - start

        return best_rate(once, 2 * size**3, runs).best
    finally:
        torch.set_num_threads(before)


def compare(what: str, ours: float, independent: float, *, floor: bool = False) -> dict[str, Any]:
    """`floor`: the other probe may be slower than the roof, for it does more than the roof counts, but never faster."""
    ratio = independent / ours
    agrees = ratio <= 1 + AGREEMENT if floor else 1 - AGREEMENT <= ratio <= 1 / (1 - AGREEMENT)
    return {"what": what, "ours": ours, "independent": independent, "ratio": ratio, "floor": floor, "agrees": agrees}


def cross_checks(found_peaks: list[dict], found_streams: list[dict], clock: float | None, runs: int) -> list[dict]:
    """Every roof against a probe that shares no code with it."""
    made = []
    for other in peaks(runs, independent=True):
        for ours in found_peaks:
            if all(ours[key] == other[key] for key in ("isa", "dtype", "threads")):
                made.append(compare(f"{ours['isa']} {ours['dtype']}, {ours['threads']} threads, against assembly",
                                    ours["operations_per_s"], other["operations_per_s"]))  # fmt: skip
    dram = {(row["pass"], row["threads"]): row for row in found_streams if row["level"] == "DRAM"}
    for threads in thread_counts():
        copies = [dram[name, threads]["bytes_per_s"] for name in ("copy", "copy_streaming")]
        theirs = numpy_copy(threads, dram["copy", threads]["bytes"], runs)
        nearest = min(copies, key=lambda rate: abs(rate - theirs))  # libc copies with or without the cache, as it likes
        made.append(compare(f"DRAM copy, {threads} threads, against numpy", nearest, theirs))
        theirs = numpy_read(threads, dram["read", threads]["bytes"], runs)
        ours = dram["read", threads]["bytes_per_s"]
        made.append(compare(f"DRAM read, {threads} threads, against numpy", ours, theirs, floor=True))
        for dtype in ("f32", "bf16"):
            best = max((row["operations_per_s"] for row in found_peaks
                        if row["threads"] == threads and row["dtype"] == dtype), default=None)  # fmt: skip
            rate = gemm(dtype, threads, 1024, runs) if best else None
            if rate:
                made.append(compare(f"{dtype} peak, {threads} threads, against torch's GEMM", best, rate, floor=True))
    if clock:
        made.extend(_whole_units(found_peaks, clock))
    return made


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
