"""Objects in colours that have no name: a tower that only ever saw named pairs of shape and colour reads one from the
other, and fails on the pairs that were held out."""

from __future__ import annotations

import numpy as np

from .world.holdout import objects
from .world.palette import BACKGROUND_RGB, COLOUR_RGB, COLOURS, MOST, SHAPES
from .world.scene import Scenes

TRIES = 8
APART = 70.0  # least distance (RGB, of 442) from the background, and from the colour that is held out for the shape


def repaint(rng: np.random.Generator, scenes: Scenes, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(colours [batch, MOST, 3] uint8, which objects got one without a name [batch, MOST] bool).

    Nothing comes near to a pair of shape and colour that is held out."""
    named = COLOUR_RGB[scenes.colour].astype(np.float64)
    drawn = rng.integers(0, 256, (TRIES, len(scenes), MOST, 3)).astype(np.float64)
    kept_away = np.stack([BACKGROUND_RGB[scenes.background][:, None].repeat(MOST, 1), _forbidden()[scenes.shape]])
    apart = np.linalg.norm(drawn[:, None] - kept_away, axis=-1).min(1) > APART  # [TRIES, batch, MOST]
    chosen = np.take_along_axis(drawn, apart.argmax(0)[None, ..., None], 0)[0]
    unnamed = apart.any(0) & (rng.random(apart.shape[1:]) < share) & scenes.present()
    return np.where(unnamed[..., None], chosen, named).astype(np.uint8), unnamed


def _forbidden() -> np.ndarray:
    """[SHAPES, 3]: the colour that is held out for each shape."""
    held = objects().reshape(len(SHAPES), len(COLOURS))
    return COLOUR_RGB[held.argmax(1)].astype(np.float64)
