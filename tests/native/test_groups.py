"""Weights in 4 bits: what packing loses, and the product against float64 on the weights that the bytes stand for."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.oracle.bounds import gamma
from spar_engine.oracle.check import MismatchError, check

from .four_bits import GROUP, opened

SIZES = [(1, 1, 1), (1, 33, 7), (2, 32, 32), (3, 31, 40), (4, 64, 64), (5, 65, 100), (8, 97, 257), (9, 40, 33),
         (300, 70, 96)]  # fmt: skip
VECTORS = ("avx2", "avx512", "avx512_bf16")


def spread(by_group: np.ndarray, k: int) -> np.ndarray:
    return np.repeat(by_group, GROUP, axis=1)[:, :k]


def sums(x: np.ndarray) -> np.ndarray:
    """Sums of the groups of a row, [rows, groups]."""
    return np.add.reduceat(x, np.arange(0, x.shape[1], GROUP), axis=1)


def weights(rng, kind: str, n: int = 45, k: int = 100) -> np.ndarray:
    w = rng.standard_normal((n, k)).astype(np.float32)
    if kind == "spiked":
        w[:, 5] *= 1000
    elif kind == "one-sided":
        w = np.abs(w)
    elif kind == "sparse":
        w *= rng.random((n, k)) < 0.1
        w[3] = 0
    return w * np.float32({"huge": 1e37, "tiny": 1e-35, "subnormal": 1e-40}.get(kind, 1))


@pytest.mark.parametrize("kind", ["normal", "spiked", "one-sided", "sparse", "huge", "tiny", "subnormal"])
def test_packing_loses_half_a_step_at_most(native, rng, kind):
    w = weights(rng, kind)
    values, scales = opened(native.native_panels(w, type="s4"), *w.shape)
    step = spread(np.abs(scales), w.shape[1])
    assert (np.abs(values - w) <= step / 2 * (1 + 2.0**-20)).all()
    groups = [np.abs(w[:, i : i + GROUP]) for i in range(0, w.shape[1], GROUP)]
    largest = np.stack([group.max(axis=1) for group in groups], axis=1).astype(np.float64)
    assert (np.abs(scales) <= largest / 7.5 * (1 + 2.0**-7) + 2.0**-133).all()  # no coarser than the range demands
    assert (scales[largest == 0] == 0).all()
    np.testing.assert_array_equal(values[w == 0], 0)


def test_both_signs_of_the_larger_side_are_used(native, rng):
    _, scales = opened(native.native_panels(weights(rng, "normal"), type="s4"), 45, 100)
    assert 0.2 < (scales < 0).mean() < 0.8


def test_a_group_that_is_not_finite_is_not_a_number(native, rng):
    w = weights(rng, "normal")
    w[2, 40], w[3, 0] = np.nan, np.inf
    _, scales = opened(native.native_panels(w, type="s4"), *w.shape)
    assert np.argwhere(np.isnan(scales)).tolist() == [[2, 1], [3, 0]]


def rounded(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Activations as whole numbers within 127, and the value of one unit of each group."""
    groups = [np.abs(a[:, i : i + GROUP]).max(axis=1) for i in range(0, a.shape[1], GROUP)]
    unit = np.stack(groups, axis=1) / np.float32(127)
    inverse = np.where(unit > 0, np.float32(127) / np.maximum(np.stack(groups, axis=1), np.float32(1e-36)), 0)
    return np.rint(a * spread(inverse.astype(np.float32), a.shape[1])).astype(np.float64), unit.astype(np.float64)


def accumulated(a: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bound of scaling and adding the exact sums of groups in float32; tiny scales lose what is below 2^-149."""
    groups = -(-a.shape[1] // GROUP)
    return gamma(2 * groups + 4) * (np.abs(a) @ np.abs(values).T) + groups * 2.0**-131


@pytest.mark.parametrize("size", SIZES)
def test_product_of_what_is_stored(native, rng, isa, size):
    """Whole numbers are summed exactly; only ties of the activations may round either way, one unit each."""
    m, n, k = size
    a, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((n, k), np.float32)
    a[0, : k // 2] = 0
    values, _ = opened(native.native_panels(w, type="s4"), n, k)
    whole, unit = rounded(a)
    stored = whole * spread(unit, k)
    ties = np.abs(np.abs(a / np.maximum(spread(unit, k), 1e-30)) % 1 - 0.5) < 1e-4
    slack = (ties * spread(unit, k)) @ np.abs(values).T
    check(native.native_product(a, w, type="s4", isa=isa), stored @ values.T, slack + accumulated(stored, values), isa)


@pytest.mark.parametrize("kind", ["normal", "spiked", "one-sided", "sparse", "tiny"])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_product_of_any_activations(native, rng, isa, kind, scale):
    """Rounding an activation loses at most half a unit of its group."""
    w, k = weights(rng, kind), 100
    a = (rng.standard_normal((7, k)) * 10.0 ** rng.uniform(-4, 4, (7, k)) * scale).astype(np.float32)
    values, _ = opened(native.native_panels(w, type="s4"), *w.shape)
    lost = spread(rounded(a)[1] / 2 * (1 + 2.0**-20), k) @ np.abs(values).T
    bound = lost + accumulated(np.abs(a) + spread(rounded(a)[1], k), values)
    check(native.native_product(a, w, type="s4", isa=isa), a.astype(np.float64) @ values.T, bound, isa)


def test_a_row_does_not_depend_on_its_neighbours(native, rng, isa):
    a, w = rng.standard_normal((13, 72), np.float32), rng.standard_normal((50, 72), np.float32)
    together = native.native_product(a, w, type="s4", isa=isa)
    for row in range(13):
        np.testing.assert_array_equal(native.native_product(a[row : row + 1], w, type="s4", isa=isa)[0], together[row])


def test_vector_instruction_sets_give_the_same_bits(native, rng):
    a, w = rng.standard_normal((6, 200), np.float32), rng.standard_normal((64, 200), np.float32)
    there = [isa for isa in VECTORS if isa in native.native_isas()]
    if len(there) < 2:
        pytest.skip("this processor has fewer than two vector instruction sets")
    first, *others = (native.native_product(a, w, type="s4", isa=isa) for isa in there)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_a_row_that_is_not_finite_is_not_a_number(native, rng, isa):
    a, w = rng.standard_normal((9, 70), np.float32), rng.standard_normal((40, 70), np.float32)
    clean = native.native_product(a, w, type="s4", isa=isa)
    a[3, 69], a[7, 0] = np.nan, -np.inf
    got = native.native_product(a, w, type="s4", isa=isa)
    assert np.isnan(got[[3, 7]]).all()
    kept = np.setdiff1d(np.arange(9), [3, 7])
    np.testing.assert_array_equal(got[kept], clean[kept])


def test_less_is_lost_than_with_one_sided_levels(native, rng):
    """The sign of the scale and the eighth level: a tenth less error than seven levels to each side."""
    w = rng.standard_normal((128, 512)).astype(np.float32)
    values, _ = opened(native.native_panels(w, type="s4"), *w.shape)
    step = spread(np.stack([np.abs(w[:, i : i + GROUP]).max(1) for i in range(0, 512, GROUP)], 1) / 7, 512)
    plain = np.rint(w / step) * step
    assert np.square(values - w).mean() < 0.9**2 * np.square(plain - w).mean()


def test_the_check_can_fail(native, rng):
    a, w = rng.standard_normal((4, 64), np.float32), rng.standard_normal((4, 64), np.float32)
    values, _ = opened(native.native_panels(np.roll(w, 1, axis=1), type="s4"), *w.shape)
    whole, unit = rounded(a)
    stored = whole * spread(unit, 64)
    with pytest.raises(MismatchError):
        check(native.native_product(a, w, type="s4"), stored @ values.T, accumulated(stored, values), "rolled")


def test_nothing_to_do(native, isa):
    empty, w = np.ones((0, 5), np.float32), np.ones((4, 5), np.float32)
    assert native.native_product(empty, w, type="s4", isa=isa).shape == (0, 4)
    assert native.native_product(np.ones((2, 5), np.float32), np.ones((0, 5), np.float32), type="s4").shape == (2, 0)
