"""From pictures to visual tokens, and back through the image tokenizer."""

from __future__ import annotations

import numpy as np

from .call import Call, Pipeline
from .denoise import decode
from .parts import Parts


def visual_tokens(parts: Parts, pixel_values: np.ndarray) -> Pipeline[np.ndarray]:
    """Normalised tiles [tiles, 3, height, width] to visual tokens [tiles * tokens, width], tile by tile."""
    found = []
    for tile in pixel_values:
        out = yield Call("vision", {"pixel_values": tile[None]})
        found.append(out["features"][0])
    return np.concatenate(found)


def tokenize(parts: Parts, pixel_values: np.ndarray) -> Pipeline[np.ndarray]:
    """A normalised square picture [1, 3, side, side] to the tokenizer's latent [1, channels, h, w]; not scaled."""
    features = yield from visual_tokens(parts, pixel_values)
    out = yield Call("streams", {"features": features[None]})
    merged = 2 * parts.config.vision.patch_size
    height, width = pixel_values.shape[2] // merged, pixel_values.shape[3] // merged
    return np.ascontiguousarray(out["latent_tokens"][0].T).reshape(1, -1, height, width)


def reconstruct(parts: Parts, pixel_values: np.ndarray) -> Pipeline[np.ndarray]:
    """A normalised square picture through the image tokenizer and back: [1, 3, H, W], nominally in [-1, 1]."""
    latent = yield from tokenize(parts, pixel_values)
    return (yield from decode(parts, latent))
