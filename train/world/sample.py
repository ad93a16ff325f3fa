"""Random scenes for training: all compositions but the held-out ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import holdout
from .palette import BACKGROUNDS, COLOURS, GRID, MOST, SHAPES, SIZES
from .scene import JITTERS, Scenes


@dataclass(frozen=True, slots=True)
class Mixture:
    counts: tuple[float, ...]  # of scenes of unrelated objects, by their number
    grouped: float  # share of scenes that hold a group of equal objects
    same_shape: float  # share of scenes whose objects share the shape, not the colour


EVERYTHING = Mixture((0.22, 0.30, 0.18, 0.15, 0.15), 0.4, 0.1)
REQUESTED = Mixture((0.34, 0.38, 0.12, 0.08, 0.08), 0.35, 0.05)  # more of what requests for pictures mostly name


def place(rng: np.random.Generator, scenes: Scenes) -> Scenes:
    """Gives every object of `scenes` its own random cell, jitter and size; in place."""
    batch = len(scenes)
    scenes.cell = np.argsort(rng.random((batch, GRID * GRID)), axis=1)[:, :MOST]
    scenes.dx, scenes.dy = rng.integers(0, JITTERS, (2, batch, MOST))
    scenes.size = rng.integers(0, len(SIZES), (batch, MOST))
    return scenes.sort()


def propose(rng: np.random.Generator, batch: int, mixture: Mixture = EVERYTHING) -> Scenes:
    """Scenes of a mixture, held-out ones included."""
    scenes = Scenes.empty(batch)
    scenes.background = rng.integers(0, len(BACKGROUNDS), batch)
    scenes.count = 1 + rng.choice(MOST, batch, p=mixture.counts)
    scenes.shape = rng.integers(0, len(SHAPES), (batch, MOST))
    scenes.colour = rng.integers(0, len(COLOURS), (batch, MOST))
    draw = rng.random(batch)
    grouped, same = draw < mixture.grouped, draw > 1 - mixture.same_shape
    scenes.count = np.where(grouped | same, rng.integers(2, MOST + 1, batch), scenes.count)
    group = np.where(rng.random(batch) < 0.7, scenes.count, rng.integers(2, MOST + 1, batch))  # equal objects
    member = (np.arange(MOST) < group[:, None]) & grouped[:, None]
    scenes.shape = np.where(member | same[:, None], scenes.shape[:, :1], scenes.shape)
    scenes.colour = np.where(member, scenes.colour[:, :1], scenes.colour)
    return place(rng, scenes)


def training_scenes(rng: np.random.Generator, batch: int, mixture: Mixture = EVERYTHING) -> Scenes:
    """Exactly `batch` scenes without any held-out composition."""
    parts, have = [], 0
    while have < batch:
        scenes = propose(rng, 2 * (batch - have) + 16, mixture)
        parts.append(scenes.take(~holdout.held_out(scenes)))
        have += len(parts[-1])
    return Scenes.join(parts).take(slice(batch))


def held_out_scenes(rng: np.random.Generator, batch: int) -> Scenes:
    """Exactly `batch` scenes that each contain a held-out composition."""
    parts, have = [], 0
    while have < batch:
        scenes = propose(rng, 4 * (batch - have) + 16)
        parts.append(scenes.take(holdout.held_out(scenes)))
        have += len(parts[-1])
    return Scenes.join(parts).take(slice(batch))
