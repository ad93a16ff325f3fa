"""How many threads a call gets."""

from __future__ import annotations

import os


def thread_count(asked: int | None) -> int:
    """`asked`, or where that is None the number of processors that this process may use."""
    if asked is not None:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
