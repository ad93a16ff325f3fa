"""Norms, attention, linear attention and depthwise convolution of the native backend against float64."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.oracle.bounds import UNIT, gamma
from spar_engine.oracle.check import check
from spar_engine.weights.dtypes import to_bf16, to_f32

U = UNIT["f32"]


def as_type(x: np.ndarray, kind: str) -> np.ndarray:
    return to_f32(to_bf16(x), "BF16") if kind == "bf16" else x


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("width", [1, 5, 16, 31, 96, 1152])
def test_norm(native, rng, isa, width, centred):
    x = (rng.standard_normal((7, width)) * 10.0 ** rng.integers(-3, 4, (7, 1)) + 2).astype(np.float32)
    weight, bias, scale, shift = (rng.standard_normal(width, np.float32) for _ in range(4))
    residual = rng.standard_normal((7, width), np.float32)
    wide = x.astype(np.float64)
    middle = wide - wide.mean(1, keepdims=True) if centred else wide
    deviation = np.sqrt((middle**2).mean(1, keepdims=True) + 1e-6)
    normed = middle / deviation
    inner = (normed * weight + bias) * (1 + scale.astype(np.float64)) + shift
    got = native.native_norm(x, eps=1e-6, centred=centred, weight=weight, bias=bias, scale=scale, shift=shift,
                             residual=residual, isa=isa)  # fmt: skip
    # The mean is off by at most gamma * mean|x|, which the division by the deviation enlarges.
    drift = gamma(width + 8) * (np.abs(wide).mean(1, keepdims=True) + np.abs(wide)) / deviation
    error = (drift + gamma(width + 8) * np.abs(normed)) * np.abs(weight) + 4 * U * (
        np.abs(normed * weight) + np.abs(bias)
    )
    bound = error * (1 + np.abs(1 + scale)) + 4 * U * (np.abs(inner) + np.abs(shift) + np.abs(residual)) + drift * 1e-3
    check(got, inner + residual, 2 * bound, "norm")


def test_norm_then_relu_and_constant_rows(native, rng, isa):
    x = np.full((2, 40), 3.25, np.float32)
    got = native.native_norm(x, eps=1e-5, centred=True, isa=isa)
    np.testing.assert_allclose(got, 0, atol=1e-3)
    y = rng.standard_normal((3, 40), np.float32)
    plain = native.native_norm(y, eps=1e-5, centred=True, isa=isa)
    np.testing.assert_array_equal(
        native.native_norm(y, eps=1e-5, centred=True, relu=True, isa=isa), np.maximum(plain, 0)
    )


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(q, k, v, heads, kv_heads, scale, causal):
    tokens, keys, dim = len(q), len(k), q.shape[1] // heads
    seen = np.ones((tokens, keys), bool) if causal < 0 else np.arange(keys) <= causal + np.arange(tokens)[:, None]
    out = np.empty(q.shape)
    for h in range(heads):
        g = h // (heads // kv_heads)
        logits = scale * q[:, h * dim : (h + 1) * dim] @ k[:, g * dim : (g + 1) * dim].T
        out[:, h * dim : (h + 1) * dim] = softmax(np.where(seen, logits, -np.inf)) @ v[:, g * dim : (g + 1) * dim]
    return out


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("tokens", "keys", "heads", "kv_heads", "dim", "causal"),
    [(1, 1, 1, 1, 2, -1), (5, 37, 2, 2, 72, -1), (50, 65, 3, 3, 64, -1), (37, 37, 6, 2, 16, 0), (4, 33, 4, 1, 56, 29)],
)
def test_attention(native, rng, isa, kind, tokens, keys, heads, kv_heads, dim, causal):
    q = as_type(rng.standard_normal((tokens, heads * dim), np.float32), kind)
    k, v = (as_type(rng.standard_normal((keys, kv_heads * dim), np.float32), kind) for _ in range(2))
    scale = dim**-0.5
    got = native.native_attention(
        q, k, v, heads=heads, kv_heads=kv_heads, scale=scale, causal=causal, type=kind, isa=isa
    )
    want = attend(*(x.astype(np.float64) for x in (q, k, v)), heads, kv_heads, scale, causal)
    # A logit is off by gamma * sum|q||k|, a weight by that much of itself; bf16 rounds weights and results once.
    size = np.abs(q).max() * np.abs(k).max() * dim * scale
    share = 2 * gamma(2 * dim) * size + gamma(2 * keys + 16) + 64 * U + (2 * UNIT["bf16"] if kind == "bf16" else 0)
    check(got, want, share * (np.abs(v).max() + np.abs(want)), "attention", dtype=kind)


def test_attention_of_large_logits(native, isa):
    q, k = np.full((3, 32), 60.0, np.float32), np.full((40, 32), -50.0, np.float32)
    k[7] = 70.0
    v = np.arange(40 * 32, dtype=np.float32).reshape(40, 32)
    got = native.native_attention(q, k, v, heads=1, kv_heads=1, scale=1.0, isa=isa)
    np.testing.assert_array_equal(got, np.repeat(v[7:8], 3, axis=0))


@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_attention_bits_do_not_depend_on_threads(native, rng, kind):
    q, k, v = (rng.standard_normal((130, 128), np.float32) for _ in range(3))
    options = {"heads": 2, "kv_heads": 2, "scale": 0.125, "type": kind}
    np.testing.assert_array_equal(native.native_attention(q, k, v, threads=3, **options),
                                  native.native_attention(q, k, v, **options))  # fmt: skip


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize(("tokens", "heads", "dim"), [(1, 1, 8), (9, 3, 32), (70, 2, 32), (200, 1, 40)])
def test_linear_attention(native, rng, isa, kind, tokens, heads, dim):
    q, k, v = (as_type(rng.standard_normal((tokens, heads * dim), np.float32), kind) for _ in range(3))
    got = native.native_linear_attention(q, k, v, dim=dim, type=kind, isa=isa)
    want, size = np.empty(q.shape), np.empty(q.shape)
    for h in range(heads):
        a, b, c = (x[:, h * dim : (h + 1) * dim].astype(np.float64) for x in (q, k, v))
        weights = np.maximum(a, 0) @ np.maximum(b, 0).T
        total = weights.sum(1, keepdims=True) + 1e-15
        want[:, h * dim : (h + 1) * dim] = weights @ c / total
        size[:, h * dim : (h + 1) * dim] = weights @ np.abs(c) / total
    bound = 2 * gamma(2 * (tokens + dim) + 8) * size + (UNIT["bf16"] * np.abs(want) * 1.01 if kind == "bf16" else 0)
    check(got, want, bound + 1e-30, "linear attention", dtype=kind)


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize("glu", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel"), [((1, 1, 1, 2), 3), ((2, 3, 5, 38), 3), ((1, 6, 4, 70), 5), ((1, 2, 9, 16), 7)]
)
def test_depthwise(native, rng, isa, kind, glu, shape, kernel):
    x = as_type(rng.standard_normal(shape, np.float32), kind)
    channels, reach = shape[-1], kernel // 2
    weight, bias = rng.standard_normal((kernel**2, channels), np.float32), rng.standard_normal(channels, np.float32)
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0))).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2)).reshape(*shape, -1)
    sums = np.einsum("phwct,tc->phwc", windows, weight) + bias
    error = gamma(kernel**2 + 1) * (np.einsum("phwct,tc->phwc", np.abs(windows), np.abs(weight)) + np.abs(bias))
    want = sums
    if glu:
        (a, g), (ea, eg) = np.split(sums, 2, -1), np.split(error, 2, -1)
        silu = g / (1 + np.exp(-g))
        # SiLU's slope is at most 1.1; in bf16 the value is rounded before it is gated.
        ea = ea + (UNIT["bf16"] * np.abs(a) * 1.01 if kind == "bf16" else 0)
        want, error = a * silu, ea * np.abs(silu) + (np.abs(a) + ea) * (1.1 * eg + 32 * U * np.abs(silu))
    error = error + (UNIT["bf16"] * (np.abs(want) + error) if kind == "bf16" else 4 * U * np.abs(want))
    check(
        native.native_depthwise(x, weight, bias=bias, glu=glu, type=kind, isa=isa), want, error, "depthwise", dtype=kind
    )
