"""Each CUDA op on the example inputs of its oracle: rounds what the op takes in bf16, calls it, checks the results.

A runner returns the results as they lie in memory, for comparisons bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
from spar_engine.oracle import (
    clamp_resize_uint8,
    cross_attention,
    dynamic_token_routing,
    gate_residual,
    glumbconv_core,
    guide_and_step,
    layer_norm_modulate,
    quantize_rows,
    relu_linear_attention,
)

from .devices import OnDevice, as_bf16, bits, eights, empty, scratch, wide

Run = Callable[[ModuleType, dict], list[np.ndarray]]
HEADS_LAST = (
    0,
    2,
    1,
    3,
)  # [batch, heads, tokens, head_dim] as a projection leaves it: [batch, tokens, heads, head_dim]


def _rounded(inputs: dict, *names: str) -> dict:
    return inputs | {name: as_bf16(inputs[name]) for name in names}


def _finish(given: list[OnDevice], results: list[OnDevice]) -> list[np.ndarray]:
    for array in given:
        array.get()
    return [array.get() for array in results]


def run_routing(ops: ModuleType, inputs: dict) -> list[np.ndarray]:
    inputs = _rounded(inputs, "levels", "w1", "w2", "proj_weight")
    depth, tokens, width = inputs["levels"].shape
    given = {
        name: bits(inputs[name]) if np.ndim(inputs[name]) > 1 else OnDevice(inputs[name])
        for name in inputs
        if np.ndim(inputs[name])
    }
    work = scratch(ops.dynamic_token_routing_workspace(tokens=tokens, hidden=inputs["w1"].shape[0], depth=depth))
    weights, routed = empty((tokens, depth), "float32"), empty((tokens, width), "uint16")
    numbers = {name: inputs[name] for name in ("temperature", "eps") if name in inputs}
    ops.dynamic_token_routing(**given, **numbers, weights=weights, routed=routed, workspace=work)
    found = _finish(list(given.values()), [routed, weights])
    dynamic_token_routing.check_result(wide(routed), found[1], inputs, "bf16", operand="bf16")
    return found


def run_linear_attention(ops: ModuleType, inputs: dict) -> list[np.ndarray]:
    inputs = _rounded(inputs, "query", "key", "value")
    shape = inputs["query"].shape
    given = {name: bits(inputs[name], HEADS_LAST) for name in ("query", "key", "value")}
    names = ("batch", "heads", "tokens", "head_dim")
    work = scratch(ops.relu_linear_attention_workspace(**dict(zip(names, shape, strict=True))))
    out = empty(shape, "uint16", HEADS_LAST)
    ops.relu_linear_attention(**given, out=out, workspace=work)
    found = _finish(list(given.values()), [out])
    relu_linear_attention.check_result(wide(out), inputs, "bf16")
    return found


def run_cross_attention(ops: ModuleType, inputs: dict) -> list[np.ndarray]:
    inputs = _rounded(inputs, "query", "keys", "values")
    given = {"query": bits(inputs["query"], HEADS_LAST), "keys": bits(inputs["keys"]), "values": bits(inputs["values"])}
    if "lengths" in inputs:
        given["lengths"] = OnDevice(inputs["lengths"])
    out = empty(inputs["query"].shape, "uint16", HEADS_LAST)
    ops.cross_attention(**given, out=out)
    found = _finish(list(given.values()), [out])
    cross_attention.check_result(wide(out), inputs, "bf16", weights="bf16")
    return found


def run_norm(ops: ModuleType, inputs: dict, bf16: bool = True) -> list[np.ndarray]:
    inputs = _rounded(inputs, "x") if bf16 else inputs
    given = {"x": bits(inputs["x"]) if bf16 else OnDevice(inputs["x"])}
    given |= {name: OnDevice(inputs[name]) for name in ("shift", "scale")}
    out = empty(inputs["x"].shape, "uint16")
    ops.layer_norm_modulate(**given, out=out)
    eight, scales = empty(inputs["x"].shape, "uint8"), empty(inputs["x"].shape[:2], "float32")
    ops.layer_norm_modulate(**given, out=eight, out_scales=scales)
    found = _finish(list(given.values()), [out, eight, scales])
    layer_norm_modulate.check_result(wide(out), inputs, "bf16")
    layer_norm_modulate.check_quantized(eights(found[1]), found[2], inputs)
    return found


def run_quantize(ops: ModuleType, inputs: dict, bf16: bool = True) -> list[np.ndarray]:
    inputs = _rounded(inputs, "x") if bf16 else inputs
    x = bits(inputs["x"]) if bf16 else OnDevice(inputs["x"])
    values, scales = empty(inputs["x"].shape, "uint8"), empty(inputs["x"].shape[:1], "float32")
    ops.quantize_rows(x=x, values=values, scales=scales)
    found = _finish([x], [values, scales])
    quantize_rows.check_result(eights(found[0]), found[1], inputs)
    return found


def run_gate(ops: ModuleType, inputs: dict, bf16: bool = True, norm: bool = True) -> list[np.ndarray]:
    inputs = _rounded(inputs, "x", "y") if bf16 else _rounded(inputs, "y")
    given = {"x": bits(inputs["x"]) if bf16 else OnDevice(inputs["x"]), "y": bits(inputs["y"])}
    vectors = ("gate", "shift", "scale") if norm else ("gate",)
    given |= {name: OnDevice(inputs[name]) for name in vectors if name in inputs}
    out = empty(inputs["x"].shape, "uint16" if bf16 else "float32")
    normed = empty(inputs["x"].shape, "uint16") if norm else None
    ops.gate_residual(**given, out=out, normed=normed)
    found = _finish(list(given.values()), [out, normed] if norm else [out])
    kind = "bf16" if bf16 else "f32"
    gate_residual.check_result(wide(out), inputs, kind, wide(normed) if norm else None, normed_dtype="bf16")
    if norm:
        eight, scales = empty(inputs["x"].shape, "uint8"), empty(inputs["x"].shape[:2], "float32")
        ops.gate_residual(**given, out=out, normed=eight, normed_scales=scales)
        found += _finish(list(given.values()), [eight, scales])
        gate_residual.check_result(wide(out), inputs, kind, eights(found[2]), normed_scales=found[3])
    return found


def run_core(ops: ModuleType, inputs: dict) -> list[np.ndarray]:
    inputs = _rounded(inputs, "x", "weight")
    given = {"x": bits(inputs["x"]), "weight": bits(inputs["weight"]), "bias": OnDevice(inputs["bias"])}
    *outer, channels = inputs["x"].shape
    out = empty((*outer, channels // 2), "uint16")
    ops.glumbconv_core(**given, out=out)
    found = _finish(list(given.values()), [out])
    glumbconv_core.check_result(wide(out), inputs, "bf16", inner="bf16")
    return found


def run_step(ops: ModuleType, inputs: dict, bf16: bool = False) -> list[np.ndarray]:
    inputs = _rounded(inputs, "velocity") if bf16 else inputs
    given = {name: OnDevice(inputs[name]) for name in ("guidance", "table", "latent") if name in inputs}
    given["velocity"] = bits(inputs["velocity"]) if bf16 else OnDevice(inputs["velocity"])
    data = OnDevice(inputs["data"])
    data.may_change()
    out, rounded = empty(inputs["latent"].shape, "float32"), empty(inputs["latent"].shape, "uint16")
    ops.guide_and_step(**given, step=inputs["step"], data=data, out=out, model_input=rounded)
    found = _finish(list(given.values()), [out, data, rounded])
    guide_and_step.check_result(found[0], found[1], inputs, wide(rounded))
    return found


def run_resize(ops: ModuleType, inputs: dict, bf16: bool = False) -> list[np.ndarray]:
    inputs = _rounded(inputs, "image") if bf16 else inputs
    channels_last = (0, 2, 3, 1)
    image = bits(inputs["image"], channels_last) if bf16 else OnDevice(inputs["image"])
    out = empty((len(inputs["image"]), inputs["height"], inputs["width"], 3), "uint8")
    ops.clamp_resize_uint8(image=image, out=out)
    found = _finish([image], [out])
    clamp_resize_uint8.check_result(found[0], inputs)
    return found


OPS: dict[str, tuple[Run, ModuleType]] = {
    "dynamic_token_routing": (run_routing, dynamic_token_routing),
    "relu_linear_attention": (run_linear_attention, relu_linear_attention),
    "cross_attention": (run_cross_attention, cross_attention),
    "layer_norm_modulate": (run_norm, layer_norm_modulate),
    "gate_residual": (run_gate, gate_residual),
    "quantize_rows": (run_quantize, quantize_rows),
    "glumbconv_core": (run_core, glumbconv_core),
    "guide_and_step": (run_step, guide_and_step),
    "clamp_resize_uint8": (run_resize, clamp_resize_uint8),
}


def fits(op: str, inputs: dict) -> bool:
    """Whether the CUDA op takes these sizes; the oracles of the older ops have examples that only other kernels do."""
    if op == "dynamic_token_routing":
        return inputs["levels"].shape[2] % 8 == 0 and inputs["w1"].shape[0] % 8 == 0
    if op == "relu_linear_attention":
        return inputs["query"].shape[3] in (16, 32)
    return True


def examples(op: str) -> Iterator[tuple[str, dict]]:
    rng = np.random.default_rng(3)
    for name, inputs in OPS[op][1].examples(rng):
        if fits(op, inputs):
            yield name, inputs
    if op == "relu_linear_attention":  # several stages of each of several spans
        yield "spans", relu_linear_attention.random_inputs(rng, 1, 1, 4100, 16)
        yield "cluster", relu_linear_attention.random_inputs(rng, 1, 1, 700, 16)
