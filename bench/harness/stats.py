"""Statistics of timings: medians with intervals by order statistics, and ratios of medians with a minimum effect.

Timings are skewed and correlated in time, so nothing here assumes a normal distribution of single samples. What is
compared between two runs are medians of *turns* (a few dozen calls made together), which are nearly independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
MOST_FREEDOM = 200.0  # degrees of freedom; beyond them Student's distribution is the normal one


def order_ranks(count: int, level: float = LEVEL) -> tuple[int, int]:
    """Ranks (from 0) of the order statistics that enclose the median of `count` independent samples.

    Smallest symmetric pair whose coverage, 1 - 2 P(Binomial(count, 1/2) <= low - 1), reaches `level`; the extremes
    when even they do not (fewer than 6 samples at 95 %). Source: David & Nagaraja 2003, section 7.1.
    """
    if count < 1:
        raise ValueError(f"count={count}: an interval needs at least one sample")
    tail, low, term = 0.0, 0, 0.5**count if count < 1000 else 0.0
    if count >= 1000:  # normal approximation of the binomial: 0.5**count would underflow
        low = max(0, math.floor(count / 2 - _z(level) * math.sqrt(count) / 2))
        return low, count - 1 - low
    for k in range(count // 2):
        tail += term
        if 2 * tail > 1 - level:
            break
        low, term = k + 1, term * (count - k) / (k + 1)
    low = max(0, low - 1) if low else 0
    return low, count - 1 - low


def _z(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)


def inefficiency(turns: Sequence[Sequence[float]]) -> float:
    """How many times more samples are needed than if they were independent, at least 1.

    Statistical inefficiency of the indicator "above the median" by batch means over turns; 1 for single-sample turns.
    """
    sizes = np.array([len(turn) for turn in turns])
    if len(turns) < 3 or sizes.mean() <= 1:
        return 1.0
    middle = np.median(np.concatenate([np.asarray(turn, float) for turn in turns]))
    above = np.array([np.mean(np.asarray(turn, float) > middle) for turn in turns])
    return float(np.clip(above.var(ddof=1) * sizes.mean() / 0.25, 1.0, sizes.mean()))


def median_interval(samples: Sequence[float], level: float = LEVEL, spread: float = 1.0) -> tuple[float, float]:
    """Confidence interval of the median by order statistics; `spread` is the inefficiency of correlated samples."""
    values = np.sort(np.asarray(samples, float))
    effective = max(1, min(len(values), round(len(values) / spread)))
    low, high = order_ranks(effective, level)
    if effective == len(values):
        return float(values[low]), float(values[high])
    if effective == 1:
        return float(values[0]), float(values[-1])
    last, steps = len(values) - 1, effective - 1  # in whole numbers: a rounded product may lie past the end
    return float(values[low * last // steps]), float(values[-(-high * last // steps)])


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all kept samples of a row; times in the unit of the samples."""

    samples: int
    turns: int
    median: float
    p5: float
    p95: float
    ci_low: float
    ci_high: float
    minimum: float
    inefficiency: float

    @property
    def half_width(self) -> float:
        """Larger arm of the 95 % interval as a share of the median."""
        return max(self.ci_high - self.median, self.median - self.ci_low) / self.median


def summarize(turns: Sequence[Sequence[float]]) -> Summary:
    """`turns` are lists of samples, one list per turn; at least one sample."""
    samples = np.concatenate([np.asarray(turn, float) for turn in turns])
    spread = inefficiency(turns)
    low, high = median_interval(samples, spread=spread)
    return Summary(
        samples=len(samples), turns=len(turns), median=float(np.median(samples)),
        p5=float(np.percentile(samples, 5)), p95=float(np.percentile(samples, 95)), ci_low=low, ci_high=high,
        minimum=float(samples.min()), inefficiency=spread,
    )  # fmt: skip


def bootstrap_ratio(
    before: Sequence[float], after: Sequence[float], *, paired: bool, level: float = LEVEL, draws: int = 4000
) -> tuple[float, float, float]:
    """Ratio of medians after / before with its percentile bootstrap interval, over turn medians.

    `paired` resamples rounds (both sides of a round together), which cancels what both sides of a round share.
    """
    a, b = np.asarray(before, float), np.asarray(after, float)
    if paired and len(a) != len(b):
        raise ValueError(f"paired ratio: {len(a)} turns before, {len(b)} after; they must be as many")
    rng = np.random.default_rng(0)
    if paired:
        rows = rng.integers(len(a), size=(draws, len(a)))
        ratios = np.exp(np.median(np.log(b / a)[rows], axis=1))
        center = float(np.exp(np.median(np.log(b / a))))
    else:
        drawn_a = a[rng.integers(len(a), size=(draws, len(a)))]
        drawn_b = b[rng.integers(len(b), size=(draws, len(b)))]
        ratios = np.median(drawn_b, axis=1) / np.median(drawn_a, axis=1)
        center = float(np.median(b) / np.median(a))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return center, float(low), float(high)


def student_tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's distribution, by the continued fraction of the incomplete beta function."""
    if t < 0:
        return 1.0 - student_tail(-t, freedom)
    return 0.5 * _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    tiny, c, d = 1e-300, 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 300):  # modified Lentz, Numerical Recipes 6.4
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + factor * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + factor / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return front * result


def _trimmed(values: np.ndarray, trim: float = 0.2) -> tuple[float, float, int]:
    """Trimmed mean, its squared standard error from the winsorized variance, and the values kept (Yuen 1974)."""
    values = np.sort(values)
    cut = int(trim * len(values))
    kept = len(values) - 2 * cut
    winsorized = np.clip(values, values[cut], values[-cut - 1])
    squares = float(((winsorized - winsorized.mean()) ** 2).sum())
    return float(values[cut : len(values) - cut].mean()), squares / (kept * (kept - 1)), kept


def effect_p(
    before: Sequence[float],
    after: Sequence[float],
    *,
    margin: float,
    paired: bool,
    start: float = 0.0,
    drift: float = 0.0,
) -> tuple[float, float]:
    """Trimmed log ratio after / before, and the p-value of "the true ratio is within 1 +- margin".

    A minimum-effect Yuen-Welch test on the logarithms of turn medians; a small p says that the two differ by more
    than `margin` (a share) in the direction of the returned log ratio. At least 4 turns a side.
    start  standard deviation of the log ratio between two starts of one program, which turns of one start do not show
    drift  log ratio by which the machine itself became slower. How much of it reaches the row is not known, so the
           smaller difference counts of those with and without it, and none where they differ in sign
    """
    a, b = np.log(np.asarray(before, float)), np.log(np.asarray(after, float))
    if min(len(a), len(b)) < 4:
        raise ValueError(f"{min(len(a), len(b))} turns: a comparison needs at least 4 a side")
    if paired:
        center, variance, kept = _trimmed(b - a)
        parts = variance**2 / (kept - 1)
    else:
        center_a, variance_a, kept_a = _trimmed(a)
        center_b, variance_b, kept_b = _trimmed(b)
        center, variance = center_b - center_a, variance_a + variance_b
        parts = variance_a**2 / (kept_a - 1) + variance_b**2 / (kept_b - 1)
    total = max(variance + start**2, 1e-12)  # steps of the timer: never surer than one millionth
    freedom = min(MOST_FREEDOM, total**2 / parts) if parts > 0 else MOST_FREEDOM
    left = min(abs(center), abs(center - drift)) if center * (center - drift) > 0 else 0.0
    return center, student_tail((left - math.log1p(margin)) / math.sqrt(total), freedom)


def error_of(before: Sequence[float], after: Sequence[float]) -> float:
    """Standard error of the trimmed log ratio of two sets of turns, not paired."""
    return math.sqrt(sum(_trimmed(np.log(np.asarray(side, float)))[1] for side in (before, after)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all rows together are wrong at most at the level of one (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda row: p_values[row])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for place, row in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[row]))
        adjusted[row] = worst
    return adjusted
