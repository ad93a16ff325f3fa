"""Dynamic Token Routing in float64 (spec 2.3), its error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray | float]


def routing_weights(inputs: Inputs) -> np.ndarray:
    """softmax(router(levels[-1]) / temperature) [tokens, depth], float64; inputs as for `dynamic_token_routing`."""
    last, w1, w2 = (np.asarray(x, np.float64) for x in (inputs["levels"][-1], inputs["w1"], inputs["w2"]))
    with np.errstate(over="ignore", invalid="ignore"):
        inner = last @ w1.T + inputs["b1"]
        logits = (inner / (1 + np.exp(-inner))) @ w2.T + inputs["b2"]
        raised = np.exp((logits - logits.max(-1, keepdims=True)) / inputs.get("temperature", 1.0))
        return raised / raised.sum(-1, keepdims=True)


def routed_by(weights: np.ndarray, inputs: Inputs) -> np.ndarray:
    """proj(layer_norm(sum_k weights[t, k] scales[k] levels[k, t])) [tokens, width], float64."""
    levels, weights, scales = (np.asarray(x, np.float64) for x in (inputs["levels"], weights, inputs["scales"]))
    with np.errstate(over="ignore", invalid="ignore"):
        mixed = np.einsum("tk,k,ktw->tw", weights, scales, levels)
        centred = mixed - mixed.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + inputs.get("eps", 1e-5))
        scaled = normal * inputs["norm_weight"] + inputs["norm_bias"]
        return scaled @ np.asarray(inputs["proj_weight"], np.float64).T + inputs["proj_bias"]


def dynamic_token_routing(**inputs: np.ndarray | float) -> np.ndarray:
    """The equation, [tokens, width] float64.

    levels   [depth, tokens, width]; the last one also drives the router
    w1, b1   [hidden, width], [hidden]; w2, b2 [depth, hidden], [depth]; scales [depth]
    norm_weight, norm_bias [width]; proj_weight, proj_bias [width, width], [width]
    temperature, eps       numbers, 1 and 1e-5 unless given
    """
    return routed_by(routing_weights(inputs), inputs)


def weights_bound(inputs: Inputs) -> bounds.Bounded:
    """The routing weights with the largest error of float32 ones."""
    with np.errstate(invalid="ignore", over="ignore"):
        inner = bounds.silu(bounds.linear(bounds.exact(inputs["levels"][-1]), inputs["w1"], inputs["b1"]))
        return bounds.softmax(bounds.linear(inner, inputs["w2"], inputs["b2"]), inputs.get("temperature", 1.0))


def routed_bound(weights: bounds.Bounded, inputs: Inputs, dtype: str = "f32", operand: str | None = None) -> np.ndarray:
    """Largest error of the result, stored as `dtype`, that weights of that accuracy lead to.

    operand  type that the normalised row is rounded to before the projection; none unless given"""
    levels = np.asarray(inputs["levels"], np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        factors = bounds.multiply(weights, bounds.exact(inputs["scales"]))
        one_row = bounds.Bounded(factors.value[:, None, :], factors.error[:, None, :])  # [tokens, 1, depth]
        mixed = bounds.dot(one_row, bounds.exact(levels.transpose(1, 0, 2)))
        mixed = bounds.Bounded(mixed.value[:, 0], mixed.error[:, 0])
        normal = bounds.layer_norm(mixed, inputs["norm_weight"], inputs["norm_bias"], inputs.get("eps", 1e-5))
        if operand is not None:
            normal = bounds.rounded(normal, operand)
        return bounds.rounded(bounds.linear(normal, inputs["proj_weight"], inputs["proj_bias"]), dtype).error


def operand_spread(inputs: Inputs, operand: str) -> np.ndarray:
    """Standard deviation [tokens, width] of the result where the router's inner row and the normalised row are rounded
    to `operand` before their products: independent roundings, each uniform within a unit, to first order."""
    levels, w1, w2, scales, proj, gain = (
        np.asarray(inputs[name], np.float64) for name in ("levels", "w1", "w2", "scales", "proj_weight", "norm_weight")
    )
    step = bounds.UNIT[operand] / np.sqrt(3)
    raw = levels[-1] @ w1.T + inputs["b1"]
    inner = raw / (1 + np.exp(-raw))
    logits = step * np.sqrt(inner**2 @ (w2**2).T) / inputs.get("temperature", 1.0)  # [tokens, depth]
    weights = routing_weights(inputs)
    scaled = scales[:, None, None] * levels
    mixed = np.einsum("tk,ktw->tw", weights, scaled)
    centred = mixed - mixed.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + inputs.get("eps", 1e-5))
    normal = centred / deviation
    variance = step**2 * ((normal * gain + inputs["norm_bias"]) ** 2 @ (proj**2).T)
    for k, level in enumerate(scaled):  # a logit moves its own weight up and all others down
        moved = weights[:, k, None] * (level - mixed)
        moved = moved - moved.mean(-1, keepdims=True)
        tangent = (moved - normal * (normal * moved).mean(-1, keepdims=True)) / deviation
        variance += (logits[:, k, None] * ((tangent * gain) @ proj.T)) ** 2
    return np.sqrt(variance)


def check_result(
    routed: np.ndarray, weights: np.ndarray | None, inputs: Inputs, dtype: str = "f32", operand: str | None = None
) -> Report:
    """Compares a result (bf16 widened) with the equation; MismatchError where it is outside the bound.

    With the float32 weights that the computation used, they are checked first and `routed` is held against the
    equation for these weights: the errors of the router, which the worst case lets grow along the way, then allow
    nothing to the rest.
    """
    allowed = weights_bound(inputs)
    if weights is not None:
        check(weights, allowed.value, allowed.error, "weights")
        allowed = bounds.exact(weights)
    want = routed_by(allowed.value, inputs)
    return check(routed, want, routed_bound(allowed, inputs, dtype, operand), "routed", dtype=dtype)


def random_inputs(
    rng: np.random.Generator, depth: int, tokens: int, width: int, hidden: int | None = None, temperature: float = 1.0
) -> Inputs:
    """Inputs at the scale of a trained model, float32; `hidden` is width // 2 unless given."""
    hidden = max(1, width // 2) if hidden is None else hidden

    def normal(*shape: int, spread: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * spread).astype(np.float32)

    return {
        "levels": normal(depth, tokens, width),
        "w1": normal(hidden, width, spread=width**-0.5), "b1": normal(hidden, spread=0.1),
        "w2": normal(depth, hidden, spread=hidden**-0.5), "b2": normal(depth, spread=0.1),
        "scales": 1 + normal(depth, spread=0.1),
        "norm_weight": 1 + normal(width, spread=0.1), "norm_bias": normal(width, spread=0.1),
        "proj_weight": normal(width, width, spread=width**-0.5), "proj_bias": normal(width, spread=0.1),
        "temperature": temperature,
    }  # fmt: skip


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name."""
    yield "usual", random_inputs(rng, 4, 50, 96)
    yield "one-token", random_inputs(rng, 4, 1, 64)
    yield "no-tokens", random_inputs(rng, 4, 0, 32)
    yield "one-level", random_inputs(rng, 1, 5, 32)
    yield "many-levels", random_inputs(rng, 28, 7, 48)
    yield "odd-sizes", random_inputs(rng, 3, 53, 37, 11, temperature=0.7)
    yield "one-channel", random_inputs(rng, 2, 3, 1, 1)
    yield "cold", random_inputs(rng, 6, 9, 64, temperature=0.01)
    for name, power in (("large", 40), ("tiny", -40), ("denormal", -128)):
        inputs = random_inputs(rng, 4, 13, 64)
        # The router sees ordinary numbers: with logits of 2**40 no error bound could tell its weights apart.
        inputs["levels"], inputs["w1"] = np.ldexp(inputs["levels"], power), np.ldexp(inputs["w1"], min(-power, 120))
        yield name, inputs
    flat = random_inputs(rng, 4, 13, 64)
    flat["levels"][:] = np.float32(3.25)
    yield "no-variance", flat
    saturated = random_inputs(rng, 4, 13, 64)
    saturated["w1"] *= np.float32(-1e4)
    yield "saturated-silu", saturated
    broken = random_inputs(rng, 4, 13, 64)
    broken["levels"][1, 5, 7] = np.nan
    broken["levels"][3, 7, 11] = np.inf
    yield "nan-and-infinity", broken
    yield "several-tiles", random_inputs(rng, 3, 35, 328, 72)
