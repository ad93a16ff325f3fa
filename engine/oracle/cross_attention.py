"""Cross-attention in float64 (spec 4.5), its error bound and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray | float]
TILE = 64  # least number of keys after which a computation that walks over the keys may rescale its sums


def _logits(inputs: Inputs) -> tuple[np.ndarray, np.ndarray, float]:
    """Scaled logits [batch, heads, tokens, keys], which keys a token sees [batch, 1, 1 or tokens, keys], the scale."""
    query, keys = (np.asarray(inputs[name], np.float64) for name in ("query", "keys"))
    scale = float(inputs.get("scale", query.shape[-1] ** -0.5))
    valid = _counted(inputs)[:, :, None, :, 0]
    if "causal" in inputs:
        seen = np.arange(keys.shape[2]) <= inputs["causal"] + np.arange(query.shape[2])[:, None]
        valid = valid & seen
    with np.errstate(invalid="ignore", over="ignore"):
        return scale * (query @ keys.swapaxes(-1, -2)), valid, scale


def _counted(inputs: Inputs) -> np.ndarray:
    """Which keys are there at all, [batch, 1, keys, 1]."""
    batch, _, keys, _ = np.shape(inputs["keys"])
    lengths = np.asarray(inputs.get("lengths", np.full(batch, keys)))
    return np.arange(keys)[:, None] < lengths[:, None, None, None]


def _weights(logits: np.ndarray, valid: np.ndarray) -> np.ndarray:
    if not logits.shape[-1]:
        return logits
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.where(valid, logits, -np.inf).max(-1, keepdims=True)
        raised = np.where(valid, np.exp(logits - np.where(largest == -np.inf, 0, largest)), 0)
        total = raised.sum(-1, keepdims=True)
        return raised / np.where(total == 0, 1, total)


def cross_attention(**inputs: np.ndarray | float) -> np.ndarray:
    """softmax(scale * query keys^T) values over the first lengths[b] keys; 0 where there are none; float64.

    query         [batch, heads, tokens, head_dim]
    keys, values  [batch, heads, keys, head_dim]
    lengths       [batch], all keys unless given; what lies beyond may be anything, NaN too
    scale         head_dim ** -0.5 unless given
    causal        if given, token t sees the first causal + t + 1 keys only
    """
    logits, valid, _ = _logits(inputs)
    values = np.where(_counted(inputs), np.asarray(inputs["values"], np.float64), 0)
    with np.errstate(invalid="ignore", over="ignore"):
        return _weights(np.where(valid, logits, 0), valid) @ values


def bound(inputs: Inputs, dtype: str = "f32", weights: str = "f32") -> np.ndarray:
    """Largest error of the result, stored as `dtype`, when logits and sums are float32.

    weights  type to which unnormalised weights are rounded before they meet the values

    A weight is exp(logit - largest). Its logit is off by the dot product's error and, with scaling, subtraction and the
    change of base, by a few units of the largest logit; the exponential adds 4 units. Every tile of keys rescales what
    came before by one more such factor, and so does joining two parts of the keys. The divisor is a sum of the same
    weights before they are rounded, so a relative error r of every weight moves the quotient by at most
    (1 + r)^2 / (1 - r) - 1 of sum of weight * |value|.
    """
    logits, valid, scale = _logits(inputs)
    clean = {name: np.asarray(inputs[name], np.float64) for name in ("query", "keys", "values")}
    counted = _counted(inputs)
    clean["keys"], clean["values"] = (np.where(counted, clean[name], 0) for name in ("keys", "values"))
    unit, keys = bounds.UNIT["f32"], logits.shape[-1]
    if not keys:
        return np.zeros_like(clean["query"])
    with np.errstate(invalid="ignore", over="ignore"):
        dots = bounds.dot(bounds.exact(clean["query"]), bounds.exact(clean["keys"].swapaxes(-1, -2)))
        size = scale * np.where(valid, dots.size, 0).max(-1, keepdims=True)
        wrong = scale * np.where(valid, dots.error, 0).max(-1, keepdims=True)
        tiles = -(-keys // TILE) + 1
        # Twice each: a logit's own error and that of the largest logit, per exponential; 4 units of the exponential.
        relative = np.expm1(tiles * (2 * wrong + 8 * unit * size + 8 * unit)) + bounds.gamma(keys + tiles)
        rounding = bounds.UNIT[weights] if weights != "f32" else 0.0
        off = np.where(relative < 1, (1 + relative) * (1 + rounding) / (1 - np.minimum(relative, 0.5)) - 1, np.nan)
        summed = _weights(np.where(valid, logits, 0), valid) @ np.abs(clean["values"])
        spread = (off + bounds.gamma(keys + tiles) * (1 + off)) * summed + keys * bounds.TINY["f32"]
        return bounds.rounded(bounds.Bounded(cross_attention(**inputs), spread), dtype).error


def check_result(got: np.ndarray, inputs: Inputs, dtype: str = "f32", weights: str = "f32") -> Report:
    """Compares a result (bf16 widened) with the equation; MismatchError where it is outside the bound."""
    return check(got, cross_attention(**inputs), bound(inputs, dtype, weights), "out", dtype=dtype)


def random_inputs(
    rng: np.random.Generator, batch: int, heads: int, tokens: int, keys: int, head_dim: int, lengths=None
) -> Inputs:
    """Standard normal queries, keys and values, float32; what lies beyond `lengths` is NaN."""
    made: Inputs = {"query": rng.standard_normal((batch, heads, tokens, head_dim)).astype(np.float32)}
    for name in ("keys", "values"):
        made[name] = rng.standard_normal((batch, heads, keys, head_dim)).astype(np.float32)
    if lengths is not None:
        made["lengths"] = np.asarray(lengths, np.int32)
        for entry, length in enumerate(lengths):
            made["keys"][entry, :, length:] = made["values"][entry, :, length:] = np.nan
    return made


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name; every head_dim is a multiple of 8."""
    yield "head-72", random_inputs(rng, 2, 2, 70, 130, 72, [130, 97])
    yield "head-112", random_inputs(rng, 1, 1, 64, 77, 112, [66])
    yield "head-128", random_inputs(rng, 1, 1, 17, 65, 128)
    yield "head-8", random_inputs(rng, 1, 3, 5, 9, 8)
    yield "head-40", random_inputs(rng, 1, 1, 16, 33, 40)
    yield "one-key", random_inputs(rng, 1, 2, 3, 1, 32)
    yield "whole-tiles", random_inputs(rng, 1, 1, 64, 128, 64, [64])
    yield "no-tokens", random_inputs(rng, 1, 2, 0, 4, 32)
    yield "no-keys", random_inputs(rng, 2, 1, 9, 66, 32, [0, 65])
    sharp = random_inputs(rng, 1, 2, 20, 140, 32)
    sharp["query"] *= np.float32(16)
    yield "sharp", sharp
    rising = random_inputs(rng, 1, 1, 16, 256, 16)  # every tile has a larger logit than the one before
    rising["keys"] = np.sort(rising["keys"], axis=2)
    rising["query"] = np.abs(rising["query"])
    yield "rising", rising
    broken = random_inputs(rng, 1, 2, 18, 70, 32)
    broken["query"][0, 0, 17, 3] = broken["values"][0, 1, 69, 5] = np.nan
    yield "nan", broken
