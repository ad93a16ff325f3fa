"""A cheap look at a latent: the linear map from latent to colour that is nearest to this checkpoint's decoder."""

from __future__ import annotations

from functools import cache

import numpy as np

from .call import Pipeline
from .denoise import decode
from .parts import Parts
from .vision import tokenize

_SAMPLES = 6  # cells of latent for each unknown of the fit
_RIDGE = 1e-3  # share of the mean square of a channel that is added to keep small checkpoints' fits from wild weights
_SEED = 20


def colours(parts: Parts) -> Pipeline[np.ndarray]:
    """[channels + 1, 3] float32: colour in [-1, 1] = latent of the tokenizer @ all rows but the last + the last.

    Least squares over the cells of made-up pictures that went through tokenizer and decoder; a colour is the mean of
    the pixels that a cell becomes. Costs a few reconstructions of a small picture, once for an engine."""
    vision, channels = parts.config.vision, parts.config.decoder.latent_channels
    merged = 2 * vision.patch_size
    cells = max(vision.image_size // merged // 2, min(4, vision.image_size // merged))
    count = -(-_SAMPLES * (channels + 1) // cells**2)
    latents, seen = [], []
    for picture in _pictures(count, cells * merged):
        latent = yield from tokenize(parts, picture[None])
        decoded = yield from decode(parts, latent)
        latents.append(latent[0].reshape(channels, -1).T)
        seen.append(_means(np.clip(decoded[0], -1, 1), cells))
    return fit(np.concatenate(latents), np.concatenate(seen))


def fit(latents: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Ridge regression of colours [n, 3] on latents [n, channels]; returns [channels + 1, 3] float32."""
    known, wanted = latents.astype(np.float64), seen.astype(np.float64)
    middle, mean = known.mean(0), wanted.mean(0)
    known, wanted = known - middle, wanted - mean
    square = known.T @ known
    square[np.diag_indices_from(square)] += _RIDGE * max(np.trace(square) / len(square), np.finfo(np.float64).tiny)
    weights = np.linalg.solve(square, known.T @ wanted)
    return np.concatenate([weights, (mean - middle @ weights)[None]]).astype(np.float32)


def paint(latent: np.ndarray, weights: np.ndarray, enlarge: int = 8) -> np.ndarray:
    """Preview of a tokenizer latent [1, channels, h, w], [enlarge * h, enlarge * w, 3] uint8."""
    from ..image.postprocess import pictures
    from ..image.resample import bilinear

    flat = np.einsum("chw,cr->rhw", latent[0], weights[:-1], optimize=True) + weights[-1][:, None, None]
    height, width = latent.shape[2:]
    return pictures(bilinear(flat[None], enlarge * height, enlarge * width), native=True)[0]


@cache
def _pictures(count: int, side: int) -> np.ndarray:
    """Pictures of plain patches on plain grounds, [count, 3, side, side] float32, normalised; always the same."""
    from ..image.preprocess import normalise

    rng = np.random.default_rng(_SEED)
    made = []
    for _ in range(count):
        picture = np.empty((side, side, 3), np.uint8)
        picture[:] = rng.integers(0, 256, 3)
        for _ in range(6):
            top, left = rng.integers(0, side, 2)
            height, width = rng.integers(side // 4, side, 2)
            picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
        made.append(normalise(picture))
    return np.stack(made)


def _means(decoded: np.ndarray, cells: int) -> np.ndarray:
    """Mean colour of every cell's pixels: [3, side, side] to [cells * cells, 3]."""
    each = decoded.shape[-1] // cells
    return decoded.reshape(3, cells, each, cells, each).mean((2, 4)).reshape(3, -1).T
