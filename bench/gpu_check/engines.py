"""Plans of TensorRT-RTX and TensorRT, and ONNX Runtime on the GPU: built, run, and compared with torch."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from spar_engine.backends.plans.device import capability
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.doctor.oracle import examine_components
from spar_engine.pipelines.call import run
from spar_engine.pipelines.denoise import Context, draw
from spar_engine.pipelines.parts import Parts
from spar_engine.samplers import Sampler, noise
from spar_engine.weights import RandomWeights

from .stages import Rows

RUNS, STEPS = 20, 20
NEAR = 0.05
"""Largest difference of two ways to draw a picture, as a share of its largest value: bf16's rounding over 20 steps."""
KINDS = ("rtx", "tensorrt", "onnxruntime")


def compare(rows: Rows, backend: Any, weights: Any, label: str) -> None:
    """A row for every output of every component, then the median time of a DiT step."""
    for found in examine_components(backend, weights, backend.precision, layers=False):
        rows.add(f"{label} {found.file} {found.tensor}", ok=found.passed, error=found.error, tolerance=found.tolerance)
    inputs = components(weights.config)["dit"].example(np.random.default_rng(5))
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        backend.run("dit", inputs)
        times.append(1e3 * (time.perf_counter() - start))
    rows.add(f"dit-step {label}", ms=float(np.median(times[RUNS // 4 :])))


def variants(flavour: str, gpu: str) -> dict[str, dict[str, Any]]:
    """What is built of a flavour on a GPU: label -> settings."""
    from spar_export.tensorrt.fp8 import GPUS

    found = {flavour: {}, f"{flavour}-stripped": {"stripped": True}}
    if flavour == "rtx":
        found["rtx-cut"] = {"cut": True}
    if gpu in GPUS:
        found[f"{flavour}-fp8"] = {"precision": "fp8"}
    return found


def plans(rows: Rows, weights: Any, flavour: str, label: str, options: dict[str, Any]) -> None:
    """Build plans for this GPU and run them."""
    from spar_engine.backends.tensorrt import TensorRTBackend
    from spar_export.tensorrt.plans import export_plans
    from spar_export.tensorrt.settings import settings_of

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        export_plans(weights, Path(folder), settings_of(flavour, gpu=capability(), **options))
        rows.add(f"build {label}", seconds=round(time.perf_counter() - start, 2))
        backend = TensorRTBackend(weights, plans=folder)
        try:
            compare(rows, backend, weights, label)
            if "image" in backend.offers:
                picture(rows, backend, weights, label)
            if options.get("stripped"):
                again(rows, backend, weights, label)
        finally:
            backend.close()


def picture(rows: Rows, backend: Any, weights: Any, label: str) -> None:
    """All steps as one graph against step by step: the same picture, up to rounding; the last of four times of each."""
    config, rng = weights.config, np.random.default_rng(6)
    caption = rng.standard_normal((2, 64, config.dit.caption_width), dtype=np.float32)
    found = backend.run("context", {"caption": caption})
    where = Context(found["cross_keys"], found["cross_values"], np.full(2, 64))
    start = noise(0, (config.dit.in_channels, *[config.dit.sample_size] * 2))
    parts, images, times = Parts(config, None, None), {}, {}
    for offers in ((), ("image",)):
        for _ in range(4):  # the first ones capture and tune
            begin = time.perf_counter()
            work = draw(parts, where, start, Sampler.of(config.sampler, STEPS), 4.5)
            images[offers] = run(work, backend.run, offers=offers)
            times[offers] = 1e3 * (time.perf_counter() - begin)
    single, whole = images.values()
    off = float(np.abs(whole - single).max() / np.abs(single).max())
    rows.add(f"picture {label}", ok=off <= NEAR, error=off, tolerance=NEAR, ms=times[("image",)],
             single_ms=times[()])  # fmt: skip


def again(rows: Rows, backend: Any, weights: Any, label: str) -> None:
    """Other weights and back: the first bits return."""
    inputs = components(weights.config)["dit"].example(np.random.default_rng(5))
    first = backend.run("dit", inputs)["velocity"]
    start = time.perf_counter()
    backend.refit(RandomWeights(weights.config, 1))
    seconds = time.perf_counter() - start
    other = backend.run("dit", inputs)["velocity"]
    backend.refit(weights)
    same = np.array_equal(first, backend.run("dit", inputs)["velocity"])
    rows.add(f"refit {label}", ok=same and not np.array_equal(first, other), seconds=round(seconds, 3))


def main(arguments: list[str]) -> int:
    kind, rows = arguments[0], Rows(arguments[-1])
    weights = RandomWeights(preset("spar-tiny-random"))
    if kind == "onnxruntime":
        import onnxruntime
        from spar_engine.backends.onnxruntime import OnnxRuntimeBackend
        from spar_engine.backends.ort_options import PROVIDERS

        if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
            rows.add("onnxruntime", skipped="this build has no CUDA provider; pip install onnxruntime-gpu")
            return rows.close()
        compare(rows, OnnxRuntimeBackend(weights, provider="cuda"), weights, "onnxruntime-cuda")
        return rows.close()
    for label, options in variants(kind, capability()).items():
        rows.attempt(label, lambda label=label, options=options: plans(
            rows, weights, kind, label, options) or {"ok": True})  # fmt: skip
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
