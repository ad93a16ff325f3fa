"""ReLU linear attention in float64 (spec 4.5), its error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray | float]


def relu_linear_attention(query, key, value, eps=1e-15) -> np.ndarray:
    """The equation, in its quadratic form: weights relu(q).relu(k), normalised over the keys, times the values.

    query, key, value  [batch, heads, tokens, head_dim]
    returns            the same shape, float64
    """
    query, key = (np.maximum(np.asarray(x, np.float64), 0) for x in (query, key))  # a NaN stays one
    with np.errstate(invalid="ignore", over="ignore"):
        weights = np.einsum("bhqd,bhkd->bhqk", query, key)
        return np.einsum("bhqk,bhkd->bhqd", weights, np.asarray(value, np.float64)) / (weights.sum(-1)[..., None] + eps)


def bound(inputs: Inputs, dtype: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`, when the state is summed in float32.

    Divisor and dividend are sums of products of three and two factors; the divisor's terms have one sign, so its
    relative error is that of its roundings. Where inputs hold NaN or infinities the bound is NaN."""
    query, key = (bounds.exact(np.maximum(np.asarray(inputs[name], np.float64), 0)) for name in ("query", "key"))
    value, eps = bounds.exact(inputs["value"]), np.float64(inputs.get("eps", 1e-15))
    flipped = bounds.Bounded(np.swapaxes(key.value, -1, -2), np.swapaxes(key.error, -1, -2))
    with np.errstate(invalid="ignore", over="ignore"):
        dividend = bounds.dot(query, bounds.dot(flipped, value))
        total = bounds.dot(flipped, bounds.exact(np.ones((*key.value.shape[:-1], 1))))
        divisor = bounds.add(bounds.dot(query, total), bounds.rounded(bounds.exact(eps), "f32"))
        return bounds.rounded(bounds.divide(dividend, divisor), dtype).error


def check_result(got: np.ndarray, inputs: Inputs, dtype: str = "f32") -> Report:
    """Compares a result (bf16 widened) with the equation; MismatchError where it is outside the bound."""
    return check(got, relu_linear_attention(**inputs), bound(inputs, dtype), "out", dtype=dtype)


def random_inputs(rng: np.random.Generator, batch: int, heads: int, tokens: int, head_dim: int) -> Inputs:
    """Standard normal queries, keys and values, float32."""
    shape = (batch, heads, tokens, head_dim)
    return {name: rng.standard_normal(shape).astype(np.float32) for name in ("query", "key", "value")}


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name."""
    yield "usual", random_inputs(rng, 2, 3, 256, 32)
    yield "one-token", random_inputs(rng, 1, 2, 1, 32)
    yield "no-tokens", random_inputs(rng, 1, 2, 0, 32)
    yield "no-batch", random_inputs(rng, 0, 2, 4, 32)
    yield "odd-sizes", random_inputs(rng, 1, 3, 67, 37)
    yield "one-channel", random_inputs(rng, 1, 1, 5, 1)
    yield "wide-head", random_inputs(rng, 1, 1, 70, 100)
    yield "long", random_inputs(rng, 1, 1, 1500, 16)
    for name, scale in (("large", 2.0**30), ("tiny", 2.0**-12), ("denormal", 2.0**-130)):
        inputs = random_inputs(rng, 1, 2, 40, 32)
        yield name, inputs | {"value": inputs["value"] * np.float32(scale), "key": inputs["key"] * np.float32(scale)}
    dead = random_inputs(rng, 1, 2, 40, 32)
    dead["query"][:, :, ::2] = -np.abs(dead["query"][:, :, ::2])
    yield "dead-queries", dead
    sparse = random_inputs(rng, 1, 2, 40, 32)
    sparse["key"] = -np.abs(sparse["key"])
    sparse["key"][0, 0, 17, 3] = 1e-6
    yield "one-live-key", sparse
    broken = random_inputs(rng, 1, 3, 40, 32)
    broken["query"][0, 0, 5, 7] = np.nan
    broken["key"][0, 1, 6, 8] = np.nan
    broken["value"][0, 2, 7, 9] = np.nan
    yield "nan", broken
