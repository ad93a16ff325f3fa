"""From pictures to visual tokens, and back through the image tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cache import digest
from .call import Call, Pipeline
from .denoise import decode
from .parts import Parts


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the vision tower saw."""

    features: np.ndarray  # [tiles * tokens, width] float32; not to be written to
    key: tuple[bytes, ...]  # digests of the tiles


def look(parts: Parts, pixel_values: np.ndarray) -> Pipeline[Seen]:
    """Visual tokens of normalised tiles [tiles, 3, height, width], one by one; what the cache holds is not run."""
    found, key = [], []
    for tile in pixel_values:
        key.append(digest(tile))
        features = parts.features.get(key[-1])
        if features is None:
            out = yield Call("vision", {"pixel_values": tile[None]})
            features = out["features"][0]
            parts.features.put(key[-1], features)
        found.append(features)
    return Seen(found[0] if len(found) == 1 else np.concatenate(found), tuple(key))


def tokenize(parts: Parts, pixel_values: np.ndarray) -> Pipeline[np.ndarray]:
    """A normalised square picture [1, 3, side, side] to the tokenizer's latent [1, channels, h, w]; not scaled."""
    seen = yield from look(parts, pixel_values)
    out = yield Call("streams", {"features": seen.features[None]})
    merged = 2 * parts.config.vision.patch_size
    height, width = pixel_values.shape[2] // merged, pixel_values.shape[3] // merged
    return np.ascontiguousarray(out["latent_tokens"][0].T).reshape(1, -1, height, width)


def reconstruct(parts: Parts, pixel_values: np.ndarray) -> Pipeline[np.ndarray]:
    """A normalised square picture through the image tokenizer and back: [1, 3, H, W], nominally in [-1, 1]."""
    latent = yield from tokenize(parts, pixel_values)
    return (yield from decode(parts, latent))
