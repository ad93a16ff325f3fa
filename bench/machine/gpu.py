"""Roofs of an NVIDIA GPU through torch: copy bandwidth, matrix products by type, and what a launch costs."""

from __future__ import annotations

import time
from typing import Any

SIZE = 8192  # of the square products
COPY = 1 << 30  # bytes


def gpu_roofs(runs: int = 20) -> dict[str, Any] | None:
    """Of the current GPU; None without torch or without a GPU. fp8 is left out where the GPU or torch has none."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    device = torch.cuda.get_device_properties(0)
    return {
        "name": device.name, "capability": f"{device.major}.{device.minor}",
        "copy_bytes_per_s": 2 * COPY / _best(torch, *_copy(torch), runs),
        "peaks": {name: 2 * SIZE**3 / _best(torch, work, runs) for name, work in _products(torch)},
        "launch_s": _launch(torch),
        "graph_launch_s": _graph_launch(torch),
    }  # fmt: skip


def _copy(torch: Any) -> tuple[Any]:
    source = torch.ones(COPY, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return (lambda: target.copy_(source),)


def _products(torch: Any):
    for name, kind in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        a, b = (torch.randn(SIZE, SIZE, device="cuda", dtype=kind) for _ in range(2))
        out = torch.empty(SIZE, SIZE, device="cuda", dtype=kind)
        yield name, lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
    if not hasattr(torch, "float8_e4m3fn") or torch.cuda.get_device_capability() < (8, 9):
        return
    a = torch.randn(SIZE, SIZE, device="cuda").to(torch.float8_e4m3fn)
    b = torch.randn(SIZE, SIZE, device="cuda").to(torch.float8_e4m3fn).t()
    one = torch.ones((), device="cuda")
    yield "fp8", lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def _best(torch: Any, work: Any, runs: int) -> float:
    """Least seconds of one call, by events on the stream, after 3 calls to warm up."""
    for _ in range(3):
        work()
    best = float("inf")
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) * 1e-3)
    return best


def _launch(torch: Any, launches: int = 2000) -> float:
    """Seconds between launches of an empty kernel that the host issues one after another."""
    one = torch.ones(1, device="cuda")
    for _ in range(100):
        one.add_(0)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(launches):
        one.add_(0)
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / launches


def _graph_launch(torch: Any, nodes: int = 1000) -> float:
    """Seconds a node of a captured graph of tiny kernels takes."""
    one = torch.ones(1, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(nodes):
            one.add_(0)
    return _best(torch, graph.replay, 20) / nodes
