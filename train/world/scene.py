"""A batch of scenes as arrays, and their pictures and instance maps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from .palette import (
    BACKGROUND_RGB,
    CELL,
    COLOUR_RGB,
    GRID,
    JITTER,
    MAP_BACKGROUND,
    MAP_RGB,
    MOST,
    RADII,
    SHAPES,
    SIDE,  # fmt: skip
    STEP,
)
from .shapes import coverage

JITTERS = round(2 * JITTER / STEP) + 1


@dataclass(slots=True)
class Scenes:
    """Objects in reading order of their cells; slots from `count` on are unused and hold zeros.

    count, background [batch]; shape, colour, size, cell, dx, dy [batch, MOST], dx and dy index the jitter steps."""

    count: np.ndarray
    background: np.ndarray
    shape: np.ndarray
    colour: np.ndarray
    size: np.ndarray
    cell: np.ndarray
    dx: np.ndarray
    dy: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def empty(cls, batch: int) -> Scenes:
        one, many = (batch,), (batch, MOST)
        return cls(*(np.zeros(one if f.name in ("count", "background") else many, np.int64) for f in fields(cls)))

    def take(self, index) -> Scenes:
        """The scenes at `index`, copied."""
        return Scenes(*(np.array(getattr(self, f.name)[index]) for f in fields(self)))

    @staticmethod
    def join(parts: list[Scenes]) -> Scenes:
        return Scenes(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scenes)))

    def row(self) -> np.ndarray:
        return self.cell // GRID

    def column(self) -> np.ndarray:
        return self.cell % GRID

    def present(self) -> np.ndarray:
        """[batch, MOST] bool."""
        return np.arange(MOST) < self.count[:, None]

    def sort(self) -> Scenes:
        """Puts the objects of every scene in reading order and clears unused slots, in place; returns self."""
        present = self.present()
        order = np.argsort(np.where(present, self.cell, GRID * GRID), axis=1, kind="stable")
        for name in ("shape", "colour", "size", "cell", "dx", "dy"):
            values = np.where(present, getattr(self, name), 0)
            setattr(self, name, np.take_along_axis(values, order, 1))
        return self

    def centres(self) -> np.ndarray:
        """[batch, MOST, 2] x, y in pixels, pixel centres at halves."""
        middle = CELL / 2 - JITTER
        return np.stack(
            [self.column() * CELL + middle + self.dx * STEP, self.row() * CELL + middle + self.dy * STEP], -1
        )


@cache
def _templates() -> np.ndarray:
    """[shapes, sizes, JITTERS, JITTERS, CELL, CELL] float32 coverage of a cell, by dy then dx."""
    pixel = np.arange(CELL) + 0.5
    offset = CELL / 2 - JITTER + STEP * np.arange(JITTERS)
    x = pixel[None, None, None, :] - offset[None, :, None, None]
    y = pixel[None, None, :, None] - offset[:, None, None, None]
    return np.stack([np.stack([coverage(s, x, y, r) for r in RADII]) for s in range(len(SHAPES))], dtype=np.float32)


def coverages(scenes: Scenes) -> np.ndarray:
    """[batch, MOST, CELL, CELL] float32: how much of each pixel of its cell every object covers; 0 when absent."""
    cover = _templates()[scenes.shape, scenes.size, scenes.dy, scenes.dx]
    return cover * scenes.present()[:, :, None, None]


def _paint(scenes: Scenes, ground: np.ndarray, paint: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Cells [batch, GRID, CELL, GRID, CELL, 3] with every object mixed over the ground colour [batch, 3]."""
    batch = len(scenes)
    canvas = np.empty((batch, GRID, CELL, GRID, CELL, 3), np.uint8)
    canvas[:] = ground[:, None, None, None, None]
    for slot in range(MOST):
        index = np.flatnonzero(scenes.count > slot)
        low, high = ground[index, None, None].astype(np.float32), paint[index, slot, None, None].astype(np.float32)
        mixed = low + (high - low) * cover[index, slot, :, :, None]
        canvas[index, scenes.row()[index, slot], :, scenes.column()[index, slot]] = np.rint(mixed).astype(np.uint8)
    return canvas.reshape(batch, SIDE, SIDE, 3)


def render(scenes: Scenes, paint: np.ndarray | None = None) -> np.ndarray:
    """Pictures [batch, SIDE, SIDE, 3] uint8 RGB, anti-aliased. `paint` [batch, MOST, 3] replaces the named colours."""
    paint = COLOUR_RGB[scenes.colour] if paint is None else paint
    return _paint(scenes, BACKGROUND_RGB[scenes.background], paint, coverages(scenes))


def render_map(scenes: Scenes) -> np.ndarray:
    """Instance maps [batch, SIDE, SIDE, 3] uint8 RGB: the n-th object in reading order in MAP_RGB[n], on black."""
    ground = np.broadcast_to(MAP_BACKGROUND, (len(scenes), 3))
    paint = np.broadcast_to(MAP_RGB, (len(scenes), MOST, 3))
    return _paint(scenes, ground, paint, coverages(scenes))


def instances(scenes: Scenes) -> np.ndarray:
    """[batch, SIDE, SIDE] int64: 0 for background, n for the n-th object (covering at least half of the pixel)."""
    batch = len(scenes)
    labels = np.zeros((batch, GRID, CELL, GRID, CELL), np.int64)
    inside = coverages(scenes) >= 0.5
    for slot in range(MOST):
        index = np.flatnonzero(scenes.count > slot)
        place = index, scenes.row()[index, slot], slice(None), scenes.column()[index, slot]
        labels[place] = inside[index, slot] * (slot + 1)
    return labels.reshape(batch, SIDE, SIDE)
