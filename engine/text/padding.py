"""Batches padded as the original pads them; the engine itself runs prompts at their own lengths (spec 1.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError


def pad(rows: Sequence[np.ndarray], fill: int, side: str = "right") -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, both [batch, longest] int64; the mask is 1 where a token is real. side: "right" or "left"."""
    if side not in ("right", "left"):
        raise InputError(f"padding side {side!r} is unknown; use 'right' or 'left'")
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), fill, np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        place = slice(0, len(tokens)) if side == "right" else slice(longest - len(tokens), longest)
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask


def with_queries(mask: np.ndarray, queries: int) -> np.ndarray:
    """[batch, longest + queries] mask; the latent queries follow the padding."""
    return np.concatenate([mask, np.ones((len(mask), queries), mask.dtype)], axis=1)


def positions(mask: np.ndarray) -> np.ndarray:
    """[batch, tokens] int64: real tokens so far minus 1, at least 0."""
    return np.maximum(np.cumsum(mask, axis=1, dtype=np.int64) - 1, 0)
