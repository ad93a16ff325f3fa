"""Packed products against float64, within derived bounds: odd sizes, extreme values, epilogues, convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.oracle.bounds import UNIT, gamma
from spar_engine.oracle.check import MismatchError, check
from spar_engine.weights.dtypes import to_bf16, to_f32

SIZES = [(1, 1, 1), (1, 33, 7), (5, 64, 2), (6, 32, 128), (7, 31, 130), (13, 97, 257), (300, 70, 40), (2, 130, 600)]
# Pictures, height, width, channels, filters: taps of one register tile from all nine to a part of one.
CONVOLUTIONS = [(1, 1, 1, 8, 3), (2, 5, 3, 16, 33), (1, 4, 17, 40, 8), (1, 5, 5, 2, 16), (1, 3, 9, 14, 17),
                (2, 4, 4, 64, 40), (1, 3, 5, 150, 70), (1, 2, 3, 300, 49)]  # fmt: skip
# bf16 dot products flush subnormal inputs and results to zero: one such loss a product and a sum.
FLUSHED = 2.0**-126


def as_bf16(x: np.ndarray) -> np.ndarray:
    return to_f32(to_bf16(x), "BF16")


def bounded(a: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact a @ w.T and the bound of a float32 sum in any order; each term may be rounded once more on its own."""
    value = a.astype(np.float64) @ w.astype(np.float64).T
    size = np.abs(a).astype(np.float64) @ np.abs(w).astype(np.float64).T
    terms = a.shape[1]
    return value, gamma(2 * terms) * size + terms * FLUSHED * (1 + np.abs(a).max() + np.abs(w).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_product(native, rng, isa, kind, size):
    m, n, k = size
    a, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((n, k), np.float32)
    if kind == "bf16":
        a, w = as_bf16(a), as_bf16(w)
    want, bound = bounded(a, w)
    check(native.native_product(a, w, type=kind, isa=isa), want, bound, f"product[{isa}]")


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e18, 2e36])
def test_product_of_extreme_values(native, rng, isa, kind, scale):
    a = as_bf16(rng.standard_normal((9, 50)).astype(np.float32) * np.float32(scale))
    w = as_bf16(rng.uniform(-1, 1, (40, 50)).astype(np.float32))
    want, bound = bounded(a, w)
    check(native.native_product(a, w, type=kind, isa=isa), want, bound, f"product[{isa}]")


@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_nan_and_infinity_stay_in_their_rows(native, rng, isa, kind):
    a, w = as_bf16(rng.standard_normal((20, 34), np.float32)), as_bf16(rng.uniform(0.5, 1, (33, 34)).astype(np.float32))
    clean = native.native_product(a, w, type=kind, isa=isa)
    a[3, 5], a[11, 0] = np.nan, np.inf
    got = native.native_product(a, w, type=kind, isa=isa)
    assert np.isnan(got[3]).all()
    assert np.isposinf(got[11]).all()
    kept = np.setdiff1d(np.arange(20), [3, 11])
    np.testing.assert_array_equal(got[kept], clean[kept])


def quantized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as whole numbers within 127 and the value of one unit, as the packer and the kernel make them."""
    top = np.abs(x).max(axis=1, keepdims=True).astype(np.float32)
    scale = np.where(top > 0, top / np.float32(127), np.float32(1)).astype(np.float32)
    return np.clip(np.rint(x / scale), -127, 127), scale[:, 0]


@pytest.mark.parametrize("size", [(1, 33, 7), (7, 31, 130), (13, 97, 257), (300, 70, 40)])
def test_int8_product(native, rng, isa, size):
    """Whole numbers are summed exactly; only ties of the activations may round either way, one unit each."""
    m, n, k = size
    a, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((n, k), np.float32)
    a[0] = 0
    (qa, sa), (qw, sw) = quantized(a), quantized(w)
    want = (qa @ qw.T) * sa[:, None].astype(np.float64) * sw
    ties = np.abs(np.abs(a / sa[:, None]) % 1 - 0.5) < 1e-4
    slack = (ties @ np.abs(qw).T) * sa[:, None] * sw
    check(native.native_product(a, w, type="s8", isa=isa), want, slack + 4 * UNIT["f32"] * np.abs(want), "int8")


def act(name: str, x: np.ndarray) -> np.ndarray:
    from math import erf

    if name == "silu":
        return x / (1 + np.exp(-x))
    if name == "gelu_erf":
        return 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))
    if name == "gelu_tanh":
        return x / (
            1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        )  # (1 + tanh u) / 2 without cancellation
    return x


@pytest.mark.parametrize("name", ["none", "silu", "gelu_erf", "gelu_tanh"])
def test_activations(native, isa, name):
    """k = 1 and w = 1: the product is exact, what is left is the activation."""
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 1e30, -1e30]])
    x = x.astype(np.float32)[:, None]
    got = native.native_product(x, np.ones((1, 1), np.float32), act=name, isa=isa)
    with np.errstate(over="ignore"):
        want = act(name, x.astype(np.float64))
    # An exponential enlarges the error of its argument, which is clamped where the result would leave the normal
    # numbers; 1 + erf cancels for negative x, so its error is of |x|, not of the small result.
    size = np.minimum(np.abs(x.astype(np.float64)), 12)
    argument = {"none": 0, "silu": size, "gelu_tanh": 1.6 * size + 0.0714 * size**3, "gelu_erf": 0}[name]
    share = np.abs(want) * (8 + 4 * argument) + (6 * size if name == "gelu_erf" else 0)
    check(got, want, share * UNIT["f32"] + np.abs(x) * 2.0**-125, name)


def test_not_a_number_passes_activations(native, isa):
    x = np.array([[np.nan]], np.float32)
    for name in ("silu", "gelu_erf", "gelu_tanh"):
        assert np.isnan(native.native_product(x, np.ones((1, 1), np.float32), act=name, isa=isa)).all(), name


@pytest.mark.parametrize("kind", ["f32", "bf16", "s8", "s4"])
def test_epilogue(native, rng, isa, kind):
    m, n, k = 11, 45, 24
    a, w = as_bf16(rng.standard_normal((m, k), np.float32)), as_bf16(rng.standard_normal((n, k), np.float32))
    bias, gate = rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    plain = native.native_product(a, w, type=kind, isa=isa).astype(np.float64)
    got = native.native_product(a, w, type=kind, isa=isa, bias=bias, act="silu", gate=gate, residual=residual)
    inner = act("silu", plain + bias) * gate
    check(got, inner + residual, 32 * UNIT["f32"] * (np.abs(plain) + np.abs(bias) + 1) * (np.abs(gate) + 1) +
          UNIT["f32"] * np.abs(residual) * 2, "epilogue")  # fmt: skip


@pytest.mark.parametrize("kind", ["f32", "bf16", "s8", "s4"])
def test_gated_panels(native, rng, isa, kind):
    m, hidden, k = 9, 48, 64
    a = as_bf16(rng.standard_normal((m, k), np.float32))
    gate, value = (as_bf16(rng.standard_normal((hidden, k), np.float32) / 8) for _ in range(2))
    stacked = np.stack([gate.reshape(-1, 16, k), value.reshape(-1, 16, k)], axis=1).reshape(-1, k)
    got = native.native_product(a, stacked, type=kind, isa=isa, act="glu_silu")
    g, v = (native.native_product(a, w, type=kind, isa=isa).astype(np.float64) for w in (gate, value))
    check(got, act("silu", g) * v, 64 * UNIT["f32"] * (np.abs(g) + 1) * (np.abs(v) + 1), "gated")


def test_result_in_bf16_is_rounded_once(native, rng, isa):
    a, w = rng.standard_normal((6, 40), np.float32), rng.standard_normal((40, 40), np.float32)
    exact = native.native_product(a, w, isa=isa)
    np.testing.assert_array_equal(native.native_product(a, w, isa=isa, out="bf16"), as_bf16(exact))


@pytest.mark.parametrize("kind", ["f32", "bf16", "s8", "s4"])
def test_bits_do_not_depend_on_threads(native, rng, kind):
    a, w = rng.standard_normal((700, 300), np.float32), rng.standard_normal((500, 300), np.float32)
    alone = native.native_product(a, w, type=kind)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(native.native_product(a, w, type=kind, threads=threads), alone)


@pytest.mark.parametrize("kind", ["f32", "bf16"])
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_convolution(native, rng, isa, kind, shape):
    pictures, height, width, channels, n = shape
    x = as_bf16(rng.standard_normal((pictures, height, width, channels), np.float32))
    w = as_bf16(rng.standard_normal((n, channels, 3, 3), np.float32))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    want = np.einsum("phwcij,ncij->phwn", windows, w)
    size = np.einsum("phwcij,ncij->phwn", np.abs(windows), np.abs(w))
    check(native.native_convolution(x, w, type=kind, isa=isa), want, gamma(18 * channels) * size, "convolution")


def test_the_check_can_fail(native, rng):
    a, w = rng.standard_normal((4, 64), np.float32), rng.standard_normal((4, 64), np.float32)
    want, bound = bounded(a, w)
    with pytest.raises(MismatchError):
        check(native.native_product(a, np.roll(w, 1, axis=1)), want, bound)


def test_refusals(native):
    with pytest.raises(ValueError, match="`w` has k=3"):
        native.native_product(np.ones((2, 2), np.float32), np.ones((2, 3), np.float32))
    with pytest.raises(Exception, match="isa='sse9' is not among those of this machine"):
        native.native_product(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), isa="sse9")


def test_nothing_to_do(native, isa):
    assert native.native_product(np.ones((0, 5), np.float32), np.ones((4, 5), np.float32), isa=isa).shape == (0, 4)
