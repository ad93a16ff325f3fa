"""Every fused operator, in every implementation of this machine, against the float64 oracle of its op."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from spar_engine.image.resample import samples
from spar_engine.modules.fused.table import TorchOps, Unsupported
from spar_engine.modules.fused.triton import TritonOps
from spar_engine.oracle import bounds
from spar_engine.oracle.check import Report, check

from .build import CUBINS
from .stages import Rows, rows_of

OPS = ("relu_linear_attention", "cross_attention", "layer_norm_modulate", "layer_norm_quantize", "gate_residual",
       "gate_residual_quantize", "quantize_rows", "glumbconv_core", "guide_and_step", "clamp_resize_uint8",
       "dynamic_token_routing")  # fmt: skip
ORACLES = {"layer_norm_quantize": "layer_norm_modulate", "gate_residual_quantize": "gate_residual"}
"""Whose equation it is, of those that are another one with a result in 8 bits."""
HALF = {
    "relu_linear_attention": ("query", "key", "value"), "cross_attention": ("query", "keys", "values"),
    "gate_residual": ("y",), "gate_residual_quantize": ("y",), "quantize_rows": ("x",),
    "glumbconv_core": ("x", "weight"), "guide_and_step": ("velocity",),
    "dynamic_token_routing": ("levels", "w1", "w2", "proj_weight"),
}  # fmt: skip
"""Inputs that are bf16 where an implementation is; the others stay float32."""
FEW = {"relu_linear_attention": ("usual", "long"), "cross_attention": ("head-72", "no-keys"),
       "glumbconv_core": ("small-picture", "partial-tiles"), "clamp_resize_uint8": ("shrink", "one-pixel"),
       "dynamic_token_routing": ("usual", "one-token"), "guide_and_step": ("usual", "first-order")}  # fmt: skip
"""Examples for a run under the sanitizer; of the other ops "usual" and "odd-eights"."""


def oracle(op: str) -> Any:
    return importlib.import_module(f"spar_engine.oracle.{ORACLES.get(op, op)}")


def examples(op: str, few: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """The oracle's examples, and sizes that need several blocks; with `few` only those of `FEW`."""
    rng = np.random.default_rng(3)
    found = dict(oracle(op).examples(rng))
    if op == "dynamic_token_routing":
        found["blocks"] = oracle(op).random_inputs(rng, 4, 35, 72, 130)
    if op == "glumbconv_core":
        found["blocks"] = oracle(op).random_inputs(rng, 1, 3, 5, 136)
    kept = FEW.get(op, ("usual", "odd-eights")) if few else tuple(found)
    return ((name, found[name]) for name in kept)


class Calls:
    """The operators of one implementation on the oracles' inputs; results as float32 numpy arrays.

    half  type of the inputs in `HALF`; float32 leaves everything as it is
    """

    def __init__(self, ops: Any, device: str = "cpu", half: torch.dtype = torch.float32):
        self.ops, self.device, self.half = ops, device, half

    def __call__(self, op: str, inputs: dict[str, Any]) -> tuple[np.ndarray, ...]:
        given = {name: self._tensor(op, name, value) for name, value in inputs.items()}
        return tuple((result.float() if result.is_floating_point() else result).cpu().numpy()
                     for result in getattr(self, op)(**given))  # fmt: skip

    def rounded(self, op: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as the implementation sees them, still float32: what the oracle must be asked for."""
        return {name: self._tensor(op, name, value).float().cpu().numpy() if name in HALF.get(op, ()) else value
                for name, value in inputs.items()}  # fmt: skip

    def _tensor(self, op: str, name: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        tensor = torch.from_numpy(value.copy()).to(self.device)
        return tensor.to(self.half) if name in HALF.get(op, ()) else tensor

    def relu_linear_attention(self, query, key, value):
        """From one fused projection: query, key and value of a token are neighbours in memory."""
        fused = torch.cat([x.transpose(1, 2).flatten(2) for x in (query, key, value)], dim=-1)
        parts = [part.unflatten(-1, (query.shape[1], -1)).transpose(1, 2) for part in fused.chunk(3, dim=-1)]
        return (self.ops.relu_linear_attention(*parts),)

    def cross_attention(self, query, keys, values, lengths=None):
        if lengths is None:
            lengths = torch.full((len(query),), keys.shape[2], dtype=torch.int32, device=query.device)
        return (self.ops.cross_attention(query, keys, values, lengths),)

    def layer_norm_modulate(self, x, shift, scale):
        return (self.ops.layer_norm_modulate(x, shift, scale, 1e-6),)

    def gate_residual(self, x, y, shift, scale, gate=None):
        return self.ops.gate_residual_norm(x, y, gate, shift, scale, 1e-6)

    def layer_norm_quantize(self, x, shift, scale):
        values, scales = self.ops.layer_norm_modulate(x, shift, scale, 1e-6, True)
        return values, scales.squeeze(-1)

    def gate_residual_quantize(self, x, y, shift, scale, gate=None):
        out, (values, scales) = self.ops.gate_residual_norm(x, y, gate, shift, scale, 1e-6, True)
        return out, values, scales.squeeze(-1)

    def quantize_rows(self, x):
        values, scales = self.ops.quantize_rows(x)
        return values, scales.squeeze(-1)

    def glumbconv_core(self, x, weight, bias):
        return (self.ops.glumbconv_core(x, weight, bias),)

    def guide_and_step(self, velocity, table, step, latent, data, guidance=None):
        self.ops.guide_and_step(velocity, guidance, table, latent, data, step)
        return latent, data

    def clamp_resize_uint8(self, image, height, width):
        places = (samples(size, wanted) for size, wanted in zip(image.shape[2:], (height, width), strict=True))
        down, across = ([torch.from_numpy(low.astype(np.int32)).to(self.device), torch.from_numpy(part).to(self.device)]
                        for low, part in places)  # fmt: skip
        return (self.ops.clamp_resize_uint8(image, down, across),)

    def dynamic_token_routing(self, levels, temperature=1.0, **rest):
        if hasattr(self.ops, "routed_with_weights"):
            return self.ops.routed_with_weights(levels, *rest.values(), temperature)
        return (self.ops.dynamic_token_routing(levels, *rest.values(), temperature),)


def checked(op: str, results: tuple[np.ndarray, ...], inputs: dict[str, Any]) -> Report:
    """The oracle's own check of float32 results."""
    if op == "layer_norm_quantize":
        return oracle(op).check_quantized(*results, inputs)
    if op == "gate_residual_quantize":
        return oracle(op).check_result(results[0], inputs, normed=results[1], normed_scales=results[2])
    if op == "gate_residual":
        return oracle(op).check_result(results[0], inputs, normed=results[1])
    if op == "dynamic_token_routing":
        return oracle(op).check_result(results[0], results[1] if len(results) > 1 else None, inputs)
    return oracle(op).check_result(*results, inputs)


def checked_half(op: str, results: tuple[np.ndarray, ...], inputs: dict[str, Any]) -> Report:
    """The same of results in bf16: what an implementation may round to bf16 on the way is allowed for."""
    if op == "gate_residual":
        return oracle(op).check_result(results[0], inputs, normed=results[1], normed_dtype="bf16")
    if op == "cross_attention":
        return oracle(op).check_result(*results, inputs, "bf16", weights="bf16")
    if op == "glumbconv_core":
        return oracle(op).check_result(*results, inputs, "bf16", inner="bf16")
    if op in ("relu_linear_attention", "layer_norm_modulate"):
        return oracle(op).check_result(*results, inputs, "bf16")
    if op == "dynamic_token_routing":
        # No bound is derived for a router in bf16: at most twice the error of plain torch, and a unit of the largest.
        exact = oracle(op).dynamic_token_routing(**inputs)
        (plain,) = Calls(TorchOps(torch.bfloat16), half=torch.bfloat16)(op, inputs)
        live = np.isfinite(exact)
        allowed = 2 * np.abs(plain - exact)[live].max(initial=0) + bounds.UNIT["bf16"] * np.abs(exact)[live].max(
            initial=0
        )
        return check(results[0], exact, allowed, "routed", dtype="bf16")
    return checked(op, results, inputs)


def implementations(device: str = "cuda") -> dict[str, Any]:
    """Every implementation that runs on this machine; "torch" always, "triton", which compiles first, at the end."""
    found: dict[str, Any] = {}
    if device != "cpu":
        from spar_engine.backends.cuda_ops import CudaOps
        from spar_engine.ops.cubins import Cubins, built_for

        arch = built_for(torch.cuda.get_device_capability())
        if importlib.util.find_spec("spar_engine._cuda") is not None:
            found["cuda"] = CudaOps(importlib.import_module("spar_engine._cuda"))
        if arch and (CUBINS / "manifest.json").exists():
            found["cubins"] = TritonOps(Cubins(CUBINS, arch), arch=arch)
        found["torch"] = TorchOps(torch.bfloat16)
        if importlib.util.find_spec("triton") is not None:
            from spar_engine.ops.triton.run import Jit

            found["triton"] = TritonOps(Jit(), arch=arch or 80)
    return found or {"torch": TorchOps(torch.bfloat16)}


def check_one(name: str, ops: Any, op: str, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """One example twice: within its bound, and the same bits again."""
    calls = Calls(ops, device, torch.bfloat16)
    try:
        with np.errstate(all="ignore"):
            first, second = calls(op, inputs), calls(op, inputs)
            report = checked_half(op, first, calls.rounded(op, inputs))
    except Unsupported:
        return {"ok": None, "reason": "not taken by this implementation"}
    again = all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(first, second, strict=True))
    return {"ok": again, "of_bound": round(report.ratio, 4), "same_bits": again}


def run(
    rows: Rows, device: str = "cuda", few: bool = False, only: str | None = None, done: frozenset[str] = frozenset(),
    alive: Callable[[], bool] = lambda: True,
) -> bool:  # fmt: skip
    """Rows for every implementation (or `only` one), op and example, but for those that are `done`.

    alive    asked after a row; where it says no, the process is of no more use
    returns  whether all was done
    """
    for name, ops in implementations(device).items():
        if only not in (None, name) or (few and name in ("torch", "triton")):
            continue
        for op in OPS:
            # Triton compiles anew for the sizes of every example, which takes a second each.
            for example, inputs in examples(op, few or name == "triton"):
                if name == "torch" and "lengths" in inputs:
                    continue  # torch multiplies what lies beyond a prompt's end by 0, and the examples have NaN there
                row = f"{name} {op}[{example}]"
                if row in done:
                    continue
                rows.attempt(row, lambda args=(name, ops, op, inputs): check_one(*args, device))
                if not alive():
                    return False
    return True


def alive() -> bool:
    """Whether the GPU still answers: after a fault in a kernel no call of the process does."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """A process that a kernel has spoilt is replaced by a new one, which goes on with the next row."""
    path = Path(arguments[-1])
    done = rows_of(path)
    rows = Rows(path)
    rows.failed = any(row.get("ok") is False for row in done)
    if not run(rows, few="--few" in arguments, done=frozenset(row["name"] for row in done), alive=alive):
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *arguments])
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
