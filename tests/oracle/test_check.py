"""The check catches what it must and accepts what it may."""

import numpy as np
import pytest
from spar_engine.oracle.check import MismatchError, check


def test_reports_the_worst_element_with_its_place_and_ratio():
    want = np.zeros((3, 4))
    got = want.copy()
    got[1, 2], got[2, 0] = 0.5, -0.25
    report = check(got, want, 1.0, "thing")
    assert (report.index, report.ratio, report.error, report.bound) == ((1, 2), 0.5, 0.5, 1.0)
    assert "thing" in str(report)


def test_a_small_bound_makes_a_small_error_the_worst():
    bound = np.array([1.0, 1e-6])
    report = check(np.array([0.5, 9e-7]), np.zeros(2), bound)
    assert report.index == (1,)
    assert report.largest == 0.5


def test_one_element_outside_is_an_error_that_names_it():
    got = np.ones((2, 3))
    got[0, 1] += 1e-3
    with pytest.raises(MismatchError, match=r"out\[0, 1\] is 1\.001.*1 of 6 elements"):
        check(got, np.ones((2, 3)), 1e-4, "out")


def test_a_zero_bound_accepts_equal_bits_only():
    assert check(np.ones(3), np.ones(3), 0.0).ratio == 0
    with pytest.raises(MismatchError):
        check(np.ones(3), np.full(3, np.nextafter(1, 2)), 0.0)


@pytest.mark.parametrize(
    ("got", "want"),
    [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0), (1.0, np.inf), (-np.inf, np.inf), (np.nan, np.inf), (np.inf, np.nan)],
)
def test_specials_out_of_place(got, want):
    with pytest.raises(MismatchError):
        check(np.array([0.0, got]), np.array([0.0, want]), np.array([1.0, 1e30]))


def test_specials_in_place():
    values = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert check(values, values, np.array([np.nan, np.nan, np.nan, 0.0])).ratio == 0


def test_a_value_too_large_for_the_type_may_be_infinite():
    largest = float(np.finfo(np.float32).max)
    assert check(np.array([np.inf]), np.array([2 * largest]), 1.0).ratio == 0
    with pytest.raises(MismatchError):
        check(np.array([-np.inf]), np.array([2 * largest]), 1.0)
    with pytest.raises(MismatchError):
        check(np.array([np.inf]), np.array([largest / 2]), 1.0)


@pytest.mark.parametrize("bound", [np.nan, np.inf, -1.0])
def test_a_bound_that_cannot_fail_is_refused(bound):
    with pytest.raises(ValueError, match="bound"):
        check(np.zeros(2), np.zeros(2), np.array([1.0, bound]))


def test_shapes_must_agree():
    with pytest.raises(MismatchError, match="shape"):
        check(np.zeros((2, 3)), np.zeros((3, 2)), 1.0)


def test_nothing_to_compare():
    assert check(np.zeros((0, 3)), np.zeros((0, 3)), 1.0).index == ()
