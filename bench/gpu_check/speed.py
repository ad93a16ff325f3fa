"""How long kernels, components and a whole picture take on the GPU, beside torch in its usual ways.

python -m spar_bench.gpu_check.speed kernels|components|picture|PEER ROWS
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spar_engine.backends.cuda import CudaBackend
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.image.resample import samples
from spar_engine.modules.fused.table import Unsupported
from spar_engine.runtime.assemble import host_parts

from ..peers.base import split
from .build import CUBINS
from .ops import implementations
from .parity import Kept, inputs_of, picture
from .stages import Rows

FLOOR_MS = {"spar-1b": 16.2, "spar-3b": 39.3}  # of a text to image on an H200: 790 TFLOP/s bf16, 4.3 TB/s
STEPS = 20
PEERS = ("torch-cuda-bf16", "torch-cuda-graphs-bf16", "torch-max-autotune-bf16")


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], device: str, runs: int = 10, warm: int = 3) -> dict[str, float]:
    """Wall time of one call, waited for: median, least and most of `runs`."""
    for _ in range(warm):
        work()
    found = []
    for _ in range(runs):
        wait(device)
        begin = time.perf_counter()
        work()
        wait(device)
        found.append(1e3 * (time.perf_counter() - begin))
    return {"ms": statistics.median(found), "least_ms": min(found), "most_ms": max(found), "runs": runs}


def in_graph(work: Callable[[], Any], device: str, repeats: int = 20) -> dict[str, float]:
    """Time of one call among `repeats` in a captured graph: the kernel without the host."""
    if device == "cpu":
        return milliseconds(work, device, runs=2, warm=1)
    for _ in range(2):
        work()
    wait(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            work()
    found = milliseconds(graph.replay, device)
    return {key: value / repeats if key.endswith("ms") else value for key, value in found.items()}


def calls(
    config: Any, device: str, batch: int = 2, side: int | None = None
) -> dict[str, tuple[str, tuple[Any, ...], int]]:
    """Calls of a step at a model's sizes: op, arguments, and the bytes that must move.

    batch  rows of the condition, two branches unless given; side of the latent picture, the model's unless given
    """
    d = config.dit
    side = side or d.sample_size
    tokens, keys, hidden = side**2, config.query_count + 32, d.mlp_width
    rng = torch.Generator(device).manual_seed(0)

    def made(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.randn(shape, generator=rng, device=device).to(dtype)

    qkv = [part.unflatten(-1, (d.heads, -1)).transpose(1, 2)
           for part in made(batch, tokens, 3 * d.width).chunk(3, dim=-1)]  # fmt: skip
    query = made(batch, tokens, d.width).unflatten(-1, (d.cross_heads, -1)).transpose(1, 2)
    cross = [made(batch, d.cross_heads, keys, d.cross_head_dim) for _ in range(2)]
    x, y = made(batch, tokens, d.width, dtype=torch.float32), made(batch, tokens, d.width)
    row = made(batch, d.width, dtype=torch.float32)
    grown = made(batch, side, side, 2 * hidden), made(9, 2 * hidden), made(2 * hidden, dtype=torch.float32)
    lengths = torch.full((batch,), keys, dtype=torch.int32, device=device)
    lengths[-1] -= 19
    width, levels = config.language.width, len(config.levels)
    router = (made(levels, keys, width), made(width // 2, width), made(width // 2), made(levels, width // 2),
              made(levels), made(levels), made(width), made(width), made(width, width), made(width), 1.0)  # fmt: skip
    latent, table = made(1, d.in_channels * tokens, dtype=torch.float32), made(4, 4, dtype=torch.float32)
    pixels = side * config.decoder.upscale
    low, share = (torch.from_numpy(part).to(device) for part in samples(pixels, pixels * 7 // 8))
    place, size = (low.int(), share.float()), batch * tokens * d.width
    return {
        "relu_linear_attention": ("relu_linear_attention", tuple(qkv), 8 * size),
        "cross_attention": ("cross_attention", (query, *cross, lengths), 4 * size + 4 * cross[0].numel()),
        "layer_norm_modulate": ("layer_norm_modulate", (x, row, row, 1e-6), 6 * size),
        "gate_residual": ("gate_residual", (x, y, row), 10 * size),
        "gate_residual_norm": ("gate_residual_norm", (x, y, row, row, row, 1e-6), 12 * size),
        "gate_residual_norm_e4m3": ("gate_residual_norm", (x, y, row, row, row, 1e-6, True), 11 * size),
        "quantize_rows": ("quantize_rows", (made(batch * tokens, hidden),), 3 * batch * tokens * hidden),
        "glumbconv_core": ("glumbconv_core", grown, 6 * batch * tokens * hidden),
        "dynamic_token_routing": ("dynamic_token_routing", router,
                                  2 * (levels * keys * width + keys * width + 3 * width * width // 2)),
        "guide_and_step": ("guide_and_step", (made(2, 1, latent.numel()), row[0, :1], table, latent, latent.clone(), 1),
                           20 * latent.numel()),
        "clamp_resize_uint8": ("clamp_resize_uint8", (made(1, 3, pixels, pixels), place, place),
                               6 * pixels**2 + 3 * (pixels * 7 // 8) ** 2),
    }  # fmt: skip


LARGE = ("relu_linear_attention", "layer_norm_modulate", "gate_residual_norm", "gate_residual_norm_e4m3",
         "quantize_rows", "glumbconv_core")  # fmt: skip
"""Memory-bound operators that are measured beside the machine's copy bandwidth too, at sizes that no cache holds."""


def kernels(rows: Rows, config: Any, device: str) -> None:
    """Every op in every implementation, and compiled by torch, at the sizes of a model; and of 2048-pixel pictures."""
    every = calls(config, device)
    if device != "cpu":
        large = calls(config, device, 4, 64)
        every |= {f"{label}@large": large[label] for label in LARGE}
    found = implementations(device)
    if "cubins" in found:
        found.pop("triton", None)  # the same kernels, but each would be compiled first
    for name, ops in found.items():
        for label, (op, arguments, moved) in every.items():
            work = getattr(ops, op)
            rows.attempt(f"{label} {name}", lambda work=work, a=arguments, b=moved: _timed(work, a, b, device))
    if device != "cpu":
        plain = found["torch"]
        for label in ("relu_linear_attention", "glumbconv_core", "dynamic_token_routing"):
            op, arguments, moved = every[label]
            work = torch.compile(getattr(plain, op), dynamic=False)
            rows.attempt(f"{label} torch-compile", lambda work=work, a=arguments, b=moved: _timed(work, a, b, device))


def _timed(work: Callable[..., Any], arguments: tuple[Any, ...], moved: int, device: str) -> dict[str, Any]:
    try:
        with torch.inference_mode():
            found = in_graph(lambda: work(*arguments), device)
    except Unsupported:
        return {"ok": None, "reason": "not taken by this implementation"}
    return found | {"gb_per_s": moved / found["ms"] / 1e6}


def each_component(rows: Rows, weights: Any, device: str, **options: Any) -> None:
    """Components of the cuda backend at their usual sizes, seams included, in graphs and without; `token` is one more
    of an answer, its cache on the device as between tokens."""
    for kind, graphs in (("", 8), (" without graphs", 0)):
        backend = CudaBackend(weights, device=device, graphs=graphs, **options)
        for name in ("vision", "language", "condition", "context", "dit", "decoder"):
            given = inputs_of(weights, name)
            rows.attempt(f"component {name}{kind}", lambda name=name, given=given, backend=backend: milliseconds(
                lambda: backend.run(name, given), device, runs=5))  # fmt: skip
        rows.attempt(f"component token{kind}", lambda backend=backend: milliseconds(token(backend), device))
        backend.close()


def token(backend: CudaBackend) -> Callable[[], Any]:
    """Reading one more token after the usual prompt."""
    spec, rng = components(backend.weights.config)["language"], np.random.default_rng(5)
    prompt = backend.run("language", spec.example(rng))
    one = spec.example(rng, tokens=1, rows=1) | {f"past_{name}": prompt[name] for name in ("keys", "values")}
    return lambda: backend.run("language", one)


def launches(work: Callable[[], Any]) -> int:
    """Kernels and copies that a call leaves on the device, counted by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    return sum(event.count for event in seen.key_averages())


def pictures(rows: Rows, weights: Any, device: str, variants: dict[str, dict[str, Any]]) -> None:
    """A text to image of `STEPS` steps at once, for every variant of the backend's options."""
    floor, parts = FLOOR_MS.get(weights.config.name), host_parts(weights)
    for name, options in variants.items():

        def measured(options: dict[str, Any] = options) -> dict[str, Any]:
            backend = CudaBackend(weights, device=device, **options)
            found: dict[str, Any] = milliseconds(
                lambda: picture(weights, backend, STEPS, parts, offers=backend.offers), device
            )
            found |= {"of_floor": floor and floor / found["ms"], "backend": backend.about()}
            if device != "cpu":
                few, many = (
                    launches(lambda n=n: picture(weights, backend, n, parts, offers=backend.offers)) for n in (2, 6)
                )
                found["launches_a_step"] = (many - few) / 4
            backend.close()
            return found

        rows.attempt(f"picture ours-{name}", measured)


def peer(rows: Rows, weights: Any, name: str) -> None:
    """The same picture by one peer."""
    chosen, precision = split(name)

    def measured() -> dict[str, Any]:
        backend = chosen.load_backend().open_backend(chosen.name, precision, weights, 4)
        parts = host_parts(weights)
        return milliseconds(lambda: picture(weights, backend, STEPS, parts), "cuda", runs=5, warm=2)

    rows.attempt(f"picture {name}", measured)


def variants() -> dict[str, dict[str, Any]]:
    """Options of the backend that are compared: the usual choice, each kind of kernel alone, fp8, no graphs."""
    cubins = CUBINS if (CUBINS / "manifest.json").exists() else None
    found = {"auto": {"cubins": cubins}, "torch-kernels": {"kernels": "torch"}}
    if importlib.util.find_spec("spar_engine._cuda") is not None:
        found["cuda-kernels"] = {"kernels": "cuda"}
    if cubins:
        found["triton-kernels"] = {"kernels": "triton", "cubins": cubins}
    return found | {"fp8": {"cubins": cubins, "precision": "fp8"}, "no-graphs": {"cubins": cubins, "graphs": 0}}


def main(arguments: list[str]) -> int:
    what, rows = arguments[0], Rows(arguments[-1])
    if what == "kernels":
        kernels(rows, preset("spar-1b"), "cuda")
        return rows.close()
    weights = Kept(preset("spar-1b"))
    if what == "components":
        each_component(rows, weights, "cuda")
    elif what == "picture":
        pictures(rows, weights, "cuda", variants())
    else:
        peer(rows, weights, what)
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
