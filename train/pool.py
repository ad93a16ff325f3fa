"""Encoded samples that are met several times: encoding pictures costs a good part of a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Items = dict[str, torch.Tensor | list]  # every value has one entry for each sample

FRESH = 4  # a sample is met about so many times
MOST = 16384  # samples kept


def _join(parts: list[Items]) -> Items:
    joined = {}
    for key, first in parts[0].items():
        values = [part[key] for part in parts]
        joined[key] = torch.cat(values) if isinstance(first, torch.Tensor) else [x for value in values for x in value]
    return joined


def _take(items: Items, index: list[int]) -> Items:
    return {key: value[index] if isinstance(value, torch.Tensor) else [value[i] for i in index]
            for key, value in items.items()}  # fmt: skip


class Pool:
    """Batches of which one in `FRESH` samples is new and the others were made earlier."""

    def __init__(self, make: Callable[[np.random.Generator, int], Items]):
        self.make = make
        self.chunks: list[Items] = []

    def draw(self, rng: np.random.Generator, batch: int) -> Items:
        new = batch if len(self.chunks) < FRESH else -(-batch // FRESH)
        made = self.make(rng, new)
        parts, left = [made], batch - new
        for number in rng.permutation(len(self.chunks))[: 2 * FRESH]:
            if not left:
                break
            chunk = self.chunks[number]
            size = len(next(iter(chunk.values())))
            take = min(left, -(-batch // FRESH), size)
            parts.append(_take(chunk, rng.permutation(size)[:take].tolist()))
            left -= take
        if left:
            parts.append(self.make(rng, left))
        self.chunks.append(made)
        del self.chunks[: -max(1, MOST // max(new, 1))]
        return _join(parts)
