"""A backend against plain torch, component by component, then layer by layer inside the first that fails.

There is no closed bound for a whole component, so three ways are compared: torch in a higher precision is the truth;
the backend may be twice as far from it as torch in the backend's own precision, plus one unit in the last place of the
largest output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .compare import Row

UNIT = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10, "int8": 2.0**-7, "int4": 2.0**-3, "fp8": 2.0**-7}
"""Spacing of the results' type relative to the leading bit."""
PLAIN = {"fp32": ("fp32", "fp64"), "bf16": ("bf16", "fp32"), "fp16": ("fp16", "fp32"), "int8": ("bf16", "fp32"),
         "int4": ("bf16", "fp32"), "fp8": ("fp8", "fp32")}  # fmt: skip
"""Precision -> that of plain torch beside it, and of the truth."""


def judge(component: str, name: str, got: np.ndarray, plain: np.ndarray, truth: np.ndarray, precision: str) -> Row:
    """One tensor, three ways."""
    if got.shape != truth.shape:
        return Row(component, name, False, None, None, "absolute", f"shape {got.shape}, expected {truth.shape}")
    if not np.isfinite(got).all():
        return Row(component, name, False, float("inf"), None, "absolute", "not finite")
    largest = float(np.abs(truth).max(initial=0.0))
    allowed = 2 * float(np.abs(plain - truth).max(initial=0.0)) + UNIT[precision] * largest
    error = float(np.abs(got - truth).max(initial=0.0))
    return Row(component, name, error <= allowed, error, allowed, "absolute")


def plain_torch(weights: Any, precision: str, component: str) -> Any:
    """Torch in a precision; fp8 is bf16, but for a DiT that quantises every row of its products' inputs, on the CPU."""
    if precision == "fp8" and component == "dit":
        from ..backends.cuda import CudaBackend

        return CudaBackend(weights, precision="fp8", device="cpu", kernels="torch", graphs=0)
    from ..backends.torch import TorchBackend

    return TorchBackend(weights, precision="bf16" if precision == "fp8" else precision)


def examine_components(
    backend: Any, weights: Any, precision: str, names: list[str] | None = None, seed: int = 0, layers: bool = True
) -> Iterator[Row]:
    """Outputs of every component on random inputs of the usual sizes; inner tensors of the first that fails.

    Rows of inner tensors follow the failing component in the order of computation, and end at the first bad one;
    without `layers` there are none.
    """
    from ..components import components

    rng = np.random.default_rng(seed)
    plain_precision, true_precision = PLAIN[precision]
    failed = False
    for name, spec in components(weights.config).items():
        if name not in weights.parts or (names is not None and name not in names):
            continue
        inputs = spec.example(rng)
        inner = layers and not failed
        answers = {}
        for other in (plain_precision, true_precision):
            oracle = plain_torch(weights, other, name)
            found = oracle.run(name, inputs, taps=inner)
            answers[other] = {tensor: np.asarray(value) for tensor, value in found.items()}
            oracle.close()
        plain, truth = answers[plain_precision], answers[true_precision]
        got = backend.run(name, inputs)
        rows = [judge(name, output, got[output], plain[output], truth[output], precision) for output in spec.outputs]
        yield from rows
        if not inner or all(row.passed for row in rows):
            continue
        failed = True
        seen = backend.run(name, inputs, taps=True)
        for tensor in truth:
            if tensor in spec.outputs:
                continue
            if tensor not in seen:
                yield Row(name, tensor, False, None, None, "absolute", "the backend cannot show this tensor")
                continue
            row = judge(name, tensor, seen[tensor], plain[tensor], truth[tensor], precision)
            yield row
            if not row.passed:
                break
