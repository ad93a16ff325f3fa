"""What requests share: one store of recent values, bounded by bytes, seen as a cache for each kind of value.

A value must follow from its key alone, so that a request gives the same bits whether or not it finds one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from math import prod
from typing import Any

import numpy as np

from ..backends.seam import Staying

KINDS = ("features", "captions", "contexts", "prefixes", "schedules")
DEFAULT_BYTES = 256 << 20
_SPARE_TOKENS, _FLOAT = 64, 4


def digest(array: np.ndarray) -> bytes:
    """SHA-256 of an array's shape, type and values."""
    made = hashlib.sha256(f"{array.shape} {array.dtype} ".encode())
    made.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return made.digest()


def bytes_of(value: Any) -> int:
    """Bytes that a value holds. Of a backend's own keys and values that may grow it is the most that they may hold: in
    float32, with the room that a growing cache keeps free."""
    if dataclasses.is_dataclass(value):
        return sum(bytes_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, (tuple, list)):
        return sum(map(bytes_of, value))
    if isinstance(value, (np.ndarray, Staying)):
        return value.nbytes
    if isinstance(value, bytes):
        return len(value)
    if (shape := getattr(value, "shape", None)) is not None:  # [layers, batch, heads, tokens, width]
        *groups, tokens, width = shape
        return prod(groups) * (tokens + max(_SPARE_TOKENS, tokens // 2)) * width * _FLOAT
    return 64


class Store:
    """Values by cache and key; what was not used for the longest time goes first. Safe from any thread.

    most  bytes of all values together; 0 keeps nothing
    """

    def __init__(self, most: int = DEFAULT_BYTES):
        self.most = most
        self.held = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[Cache, Hashable], tuple[Any, int]] = OrderedDict()
        self.caches = {kind: Cache(self) for kind in KINDS}

    def clear(self) -> None:
        """Forget every value."""
        with self._lock:
            while self._values:
                self._drop()

    def _drop(self) -> None:
        (cache, _), (_, size) = self._values.popitem(last=False)
        self.held -= size
        cache.held -= size
        cache.entries -= 1


class Cache:
    """The values of one kind in a store.

    hits, misses  since the model was loaded
    entries, held  values in the store now, and their bytes
    """

    def __init__(self, store: Store):
        self._store = store
        self.hits = self.misses = self.entries = self.held = 0

    def get(self, key: Hashable) -> Any | None:
        store = self._store
        with store._lock:
            found = store._values.get((self, key))
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            store._values.move_to_end((self, key))
            return found[0]

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value`, unless it alone is larger than the store; whoever has it may not write to it."""
        store, size = self._store, bytes_of(value) + bytes_of(key)
        if size > store.most:
            return
        with store._lock:
            if (self, key) in store._values:  # two requests made it at once; it is the same
                return
            store._values[self, key] = value, size
            store.held += size
            self.held += size
            self.entries += 1
            while store.held > store.most:
                store._drop()
