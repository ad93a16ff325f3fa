"""Bounds hold for float32 arithmetic in bad orders of summation, and are not so wide that anything passes."""

import numpy as np
import pytest
from spar_engine.oracle import bounds

RNG = np.random.default_rng(7)


def f32(*shape, spread=1.0):
    return (RNG.standard_normal(shape) * spread).astype(np.float32)


def one_by_one(x, y):
    """x @ y, every product and sum rounded, largest terms first: the worst of orders."""
    total = np.zeros((x.shape[0], y.shape[1]), np.float32)
    for i in np.argsort(-np.abs(x).sum(0)):
        total += x[:, i : i + 1] * y[i : i + 1]
    return total


def layer_norm(x, weight, bias, eps):
    mean = x.mean(-1, keepdims=True, dtype=np.float32)
    d = x - mean
    return d / np.sqrt((d * d).mean(-1, keepdims=True, dtype=np.float32) + np.float32(eps)) * weight + bias


@pytest.mark.parametrize("size", [1, 17, 1000])
def test_dot(size):
    x, y = f32(5, size), f32(size, 4)
    known = bounds.dot(bounds.exact(x), bounds.exact(y))
    assert (np.abs(one_by_one(x, y) - known.value) <= known.error).all()


def test_dot_carries_the_errors_of_its_operands():
    x, y = f32(5, 40), f32(40, 4)
    off = bounds.Bounded(x.astype(np.float64), np.full(x.shape, 0.01))
    known = bounds.dot(off, bounds.exact(y))
    worst = (x + 0.01 * np.sign(y[:, 0])) @ y.astype(np.float64)
    assert (np.abs(worst - known.value) <= known.error).all()
    assert (np.abs(worst - known.value)[:, 0] > 0.99 * (known.error[:, 0] - bounds.gamma(40) * 100)).all()


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
def test_silu_and_softmax(spread):
    x = f32(50, 9, spread=spread)
    known = bounds.silu(bounds.exact(x))
    with np.errstate(over="ignore"):
        assert (np.abs(x / (1 + np.exp(-x)) - known.value) <= known.error).all()
    known = bounds.softmax(bounds.exact(x), 0.7)
    raised = np.exp(x / np.float32(0.7) - (x / np.float32(0.7)).max(-1, keepdims=True))
    assert (np.abs(raised / raised.sum(-1, keepdims=True) - known.value) <= known.error).all()
    assert known.error.max() < 1e-3


@pytest.mark.parametrize("error", [1e-6, 1e-2, 1.0])
def test_softmax_carries_the_errors_of_its_logits(error):
    x = RNG.standard_normal((200, 5))
    known = bounds.softmax(bounds.Bounded(x, np.full(x.shape, error)), 1.0)
    for _ in range(20):
        moved = np.exp(x + error * RNG.choice([-1, 1], x.shape))
        assert (np.abs(moved / moved.sum(-1, keepdims=True) - known.value) <= known.error).all()
    assert (known.error <= 1.001).all()


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e5])
def test_layer_norm(offset):
    x, weight, bias = f32(30, 64) + np.float32(offset), f32(64), f32(64)
    known = bounds.layer_norm(bounds.exact(x), weight, bias, 1e-5)
    assert (np.abs(layer_norm(x, weight, bias, 1e-5) - known.value) <= known.error).all()
    if offset == 0:
        assert known.error.max() < 1e-4


def test_layer_norm_of_equal_values_is_bounded_by_eps():
    x = np.full((2, 64), 0.1, np.float32)
    known = bounds.layer_norm(bounds.exact(x), np.ones(64), np.zeros(64), 1e-5)
    assert (np.abs(layer_norm(x, np.float32(1), np.float32(0), 1e-5) - known.value) <= known.error).all()
    assert known.error.max() < 0.01


def test_layer_norm_carries_the_errors_of_its_input():
    x = RNG.standard_normal((40, 32))
    for error in (1e-5, 1e-2, 1.0):
        known = bounds.layer_norm(bounds.Bounded(x, np.full(x.shape, error)), np.ones(32), np.zeros(32), 1e-5)
        for _ in range(20):
            moved = layer_norm(x + error * RNG.choice([-1, 1], x.shape), 1.0, 0.0, 1e-5)
            assert (np.abs(moved - known.value) <= known.error).all()


def test_no_bound_is_made_up():
    with pytest.raises(ValueError, match="no bound"):
        bounds.gamma(2**24)
    with pytest.raises(ValueError, match="zero"):
        bounds.divide(bounds.exact(np.ones(2)), bounds.Bounded(np.array([1.0, 0.1]), np.array([0.0, 0.2])))
