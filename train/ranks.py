"""Data parallelism over processes of one machine: one thread each is the fastest use of few, shared cores."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist


def run(count: int, work: Callable[[], None]) -> None:
    """Runs `work` in `count` processes that know each other; with one, simply here."""
    if count == 1:
        return work()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that daemons end with this process
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_enter, (count, f"file://{folder}/meet", work), nprocs=count, daemon=True)
    return None


def _enter(rank: int, count: int, where: str, work: Callable[[], None]) -> None:
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=count)
    try:
        work()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensors: Iterable[torch.Tensor]) -> None:
    """Replaces each tensor by its mean over the processes."""
    if count() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= count()
    torch._foreach_copy_(
        tensors, [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]
    )


def agreed(value: float) -> float:
    """The first process's value, everywhere."""
    if count() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(tensor, 0)
    return float(tensor)
