"""Statistics of timings against tables, known distributions and simulations with a fixed seed."""

import math

import numpy as np
import pytest
from spar_bench.harness import stats


# Ranks of the 95 % interval of a median, as printed in tables (there from 1).
@pytest.mark.parametrize(("count", "low", "high"), [(6, 1, 6), (9, 2, 8), (10, 2, 9), (20, 6, 15), (50, 18, 33)])
def test_order_ranks_are_those_of_the_tables(count, low, high):
    assert stats.order_ranks(count) == (low - 1, high - 1)


def test_order_ranks_of_few_samples_are_the_extremes():
    assert [stats.order_ranks(count) for count in (1, 2, 5)] == [(0, 0), (0, 1), (0, 4)]


def test_exact_and_approximate_ranks_meet():
    assert np.abs(np.array(stats.order_ranks(999)) - np.array(stats.order_ranks(1000))).max() <= 1


def covered(make, trials=600):
    """Share of trials whose interval holds the true median 1."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(trials):
        summary = stats.summarize(make(rng))
        hits += summary.ci_low <= 1 <= summary.ci_high
    return hits / trials


def test_interval_covers_the_median_of_skewed_samples():
    assert covered(lambda rng: [rng.lognormal(0, 0.5, 40)]) >= 0.94


def test_interval_covers_the_median_of_correlated_turns():
    """Turns share a level; pretending that samples are independent would cover it in under half of the trials."""

    def turns(rng):
        return [math.exp(rng.normal(0, 0.05)) * rng.lognormal(0, 0.02, 30) for _ in range(16)]

    assert covered(turns) >= 0.90
    rng = np.random.default_rng(1)
    naive = [stats.median_interval(np.concatenate(turns(rng))) for _ in range(300)]
    assert np.mean([low <= 1 <= high for low, high in naive]) < 0.6


def test_independent_turns_count_as_independent():
    rng = np.random.default_rng(0)
    assert stats.inefficiency([rng.normal(1, 0.1, 30) for _ in range(40)]) < 2
    assert stats.inefficiency([[1.0], [2.0], [3.0]]) == 1


@pytest.mark.parametrize(
    ("t", "freedom", "tail"),
    [(2.776, 4, 0.025), (12.706, 1, 0.025), (1.372, 10, 0.10), (2.704, 40, 0.005), (0, 7, 0.5)],
)
def test_student_tail_is_that_of_the_tables(t, freedom, tail):
    assert stats.student_tail(t, freedom) == pytest.approx(tail, rel=2e-3)
    assert stats.student_tail(-t, freedom) == pytest.approx(1 - tail, rel=2e-3)


def test_holm_adjusts_step_by_step():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == [1.0, 1.0]


def test_bootstrap_of_a_ratio_holds_the_truth_and_uses_pairs():
    rng = np.random.default_rng(0)
    shared = rng.lognormal(0, 0.3, 30)  # what both sides of a round share
    before, after = shared * rng.lognormal(0, 0.01, 30), 1.1 * shared * rng.lognormal(0, 0.01, 30)
    ratio, low, high = stats.bootstrap_ratio(before, after, paired=True)
    assert low <= 1.1 <= high
    assert high - low < 0.03
    assert ratio == pytest.approx(1.1, rel=0.02)
    _, low, high = stats.bootstrap_ratio(before, after, paired=False)
    assert high - low > 0.1
    with pytest.raises(ValueError, match="as many"):
        stats.bootstrap_ratio(before, after[1:], paired=True)


def test_effect_below_the_margin_is_none():
    rng = np.random.default_rng(0)
    before = rng.lognormal(0, 0.01, 20)
    _, p = stats.effect_p(before, 1.02 * rng.lognormal(0, 0.01, 20), margin=0.03, paired=False)
    assert p > 0.5
    effect, p = stats.effect_p(before, 0.9 * rng.lognormal(0, 0.01, 20), margin=0.03, paired=False)
    assert effect < 0
    assert p < 1e-6


def test_one_wild_turn_does_not_decide():
    before, after = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98], [1.0, 1.01, 0.99, 1.0, 1.02, 9.0]
    assert stats.effect_p(before, after, margin=0.03, paired=False)[1] > 0.2
    with pytest.raises(ValueError, match="at least 4"):
        stats.effect_p(before[:3], after, margin=0.03, paired=False)


def test_the_interval_of_correlated_samples_stays_within_them():
    for count in range(2, 80):
        for spread in np.linspace(1, count, 57):
            low, high = stats.median_interval(list(range(count)), spread=float(spread))
            assert 0 <= low <= (count - 1) / 2 <= high <= count - 1
    assert stats.median_interval([1, 2, 3, 4], spread=4.0) == (1, 4)
