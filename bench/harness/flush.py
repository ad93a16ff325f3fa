"""Cold caches: push everything else out of every core's caches before a call."""

from __future__ import annotations

from functools import cache

import numpy as np

from .environment import cpu

FALLBACK_CACHE = 64 << 20  # bytes assumed where the system does not tell its last-level cache


def evict_bytes() -> int:
    """Twice the last-level cache plus all private ones."""
    caches = cpu()["caches"]
    last = max(caches.values(), default=FALLBACK_CACHE)
    return 2 * (last + cpu()["cores"] * caches.get("L2", 0))


@cache
def _buffer() -> np.ndarray:
    return np.zeros(evict_bytes() // 8, np.uint64)


def evict() -> None:
    """A few milliseconds. Without the native module one core sweeps, which leaves the private caches of the others."""
    try:
        from spar_engine._native import roofs
    except ImportError:
        buffer = _buffer()
        buffer += np.uint64(1)
        return
    roofs.evict(evict_bytes())
