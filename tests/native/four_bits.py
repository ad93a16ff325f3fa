"""Packed 4-bit weights read back, as docs/kernels.md draws them."""

from __future__ import annotations

import numpy as np
from spar_engine.weights.dtypes import to_f32

GROUP, PANEL = 32, 32


def opened(panels: np.ndarray, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, k] and scales [n, groups] in float64, from the bytes [panels, ...] of one matrix."""
    stored = -(-k // 8) * 8
    columns = len(panels) * PANEL
    whole, scales = np.zeros((columns, stored)), np.zeros((columns, -(-stored // GROUP)))
    for p, panel in enumerate(panels):
        at, rows = 0, slice(p * PANEL, (p + 1) * PANEL)
        for group, first in enumerate(range(0, stored, GROUP)):
            scales[rows, group] = to_f32(panel[at : at + 2 * PANEL].view(np.uint16), "BF16")
            at += 2 * PANEL
            for s in range(first, min(first + GROUP, stored), 8):
                lanes = panel[at : at + 4 * PANEL].reshape(PANEL, 4).astype(np.int64)
                whole[rows, s : s + 4], whole[rows, s + 4 : s + 8] = (lanes & 15) - 8, (lanes >> 4) - 8
                at += 4 * PANEL
        assert at == len(panel)
    assert not whole[:, k:].any()
    assert not whole[n:].any()
    values = whole * np.repeat(scales, GROUP, axis=1)[:, :stored]
    return values[:n, :k], scales[:n]
