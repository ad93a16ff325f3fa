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
from spar_engine.weights import RandomWeights

from .stages import Rows

RUNS = 20
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


def plans(rows: Rows, weights: Any, flavour: str, stripped: bool) -> None:
    """Build plans for this GPU, with their weights or without, and run them."""
    from spar_engine.backends.tensorrt import TensorRTBackend
    from spar_export.tensorrt.plans import export_plans
    from spar_export.tensorrt.settings import settings_of

    label = f"{flavour}{'-stripped' if stripped else ''}"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        export_plans(weights, Path(folder), settings_of(flavour, gpu=capability(), stripped=stripped))
        rows.add(f"build {label}", seconds=round(time.perf_counter() - start, 2))
        backend = TensorRTBackend(weights, plans=folder)
        try:
            compare(rows, backend, weights, label)
            if stripped:
                again(rows, backend, weights, label)
        finally:
            backend.close()


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
    for stripped in (False, True):
        rows.attempt(f"{kind} {'stripped' if stripped else 'whole'}", lambda stripped=stripped: plans(
            rows, weights, kind, stripped) or {"ok": True})  # fmt: skip
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
