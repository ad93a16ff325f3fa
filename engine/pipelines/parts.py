"""What every pipeline needs beside the heavy components: token embeddings, latent queries, and exact caches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import ModelConfig


class Cache:
    """A small least-recently-used store, safe from any thread. Values must be reproducible from their keys."""

    def __init__(self, entries: int):
        self.entries = entries
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable) -> Any | None:
        with self._lock:
            if key not in self._values:
                self.misses += 1
                return None
            self.hits += 1
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self.entries:
                self._values.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def __len__(self) -> int:
        return len(self._values)


@dataclass(slots=True)
class Parts:
    """Host-side parts of one loaded model, shared by all its requests."""

    config: ModelConfig
    embed: Callable[[np.ndarray], np.ndarray]  # token ids [n] -> float32 [n, width]
    queries: np.ndarray  # [query_count, width] float32
    captions: Cache = field(default_factory=lambda: Cache(32))  # prompt ids -> caption (E4, E11)
    prefixes: Cache = field(default_factory=lambda: Cache(8))  # leading ids -> cache of the language model (E9)
    schedules: Cache = field(default_factory=lambda: Cache(8))  # timesteps -> AdaLN tables (E3)

    def caches(self) -> dict[str, Cache]:
        """Every cache by name."""
        return {"captions": self.captions, "prefixes": self.prefixes, "schedules": self.schedules}

    def clear(self) -> None:
        """Forget everything cached; the next requests compute it again."""
        for cache in self.caches().values():
            cache.clear()
