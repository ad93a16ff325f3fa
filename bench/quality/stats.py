"""Shares and means with their 95 % confidence intervals."""

from __future__ import annotations

import math

import numpy as np

Z = 1.959964  # 95 %, two-sided


def share(right: list[bool]) -> dict[str, float | int]:
    """Wilson score interval of a proportion."""
    n, k = len(right), sum(right)
    p = k / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return {"value": p, "low": max(middle - half, 0.0), "high": min(middle + half, 1.0), "samples": n}


def mean(values: list[float]) -> dict[str, float | int]:
    """Mean and normal interval."""
    n, middle = len(values), float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return {"value": middle, "low": middle - half, "high": middle + half, "samples": n}
