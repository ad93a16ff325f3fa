"""What every pipeline needs beside the heavy components: token embeddings, latent queries, and exact caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..config import ModelConfig
from .cache import Cache, Store


@dataclass(slots=True)
class Parts:
    """Host-side parts of one loaded model, shared by all its requests."""

    config: ModelConfig
    embed: Callable[[np.ndarray], np.ndarray]  # token ids [n] -> float32 [n, width]
    queries: np.ndarray  # [query_count, width] float32
    store: Store = field(default_factory=Store)

    @property
    def features(self) -> Cache:
        """Pixels of a tile -> its visual tokens (E5)."""
        return self.store.caches["features"]

    @property
    def captions(self) -> Cache:
        """Prompt ids and pictures -> caption (E4, E11)."""
        return self.store.caches["captions"]

    @property
    def contexts(self) -> Cache:
        """Prompt ids and pictures of all branches -> cross keys and values (E1, E4)."""
        return self.store.caches["contexts"]

    @property
    def prefixes(self) -> Cache:
        """Leading ids and pictures -> state of the language model (E9, E23)."""
        return self.store.caches["prefixes"]

    @property
    def schedules(self) -> Cache:
        """Timesteps -> AdaLN tables (E3)."""
        return self.store.caches["schedules"]

    def clear(self) -> None:
        """Forget everything cached; the next requests compute it again."""
        self.store.clear()
