"""What is in a picture of the world: background, and every object's shape, colour, size and place.

Colour: a pixel near an edge is background mixed with an object's colour, so each pixel is explained by the palette
colour whose line to the background passes closest, and belongs to the object from half coverage on. Regions of one
colour are then fitted with every shape at the region's own centroid and area; the best overlap wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from spar_train.world.palette import BACKGROUND_RGB, COLOUR_RGB, COLOURS, RADII, SHAPES, SIDE
from spar_train.world.shapes import coverage

from .regions import connected

LEAST_AREA = 30.0  # pixels of coverage; a smaller speck is not an object (the smallest object covers 70)
LEAST_OVERLAP = 0.72  # intersection over union with the fitted shape; below it the shape is unknown
LEAST_CONTRAST = 40.0  # RGB distance from the background; the closest object colour is 104 away
MIXED = 0.2  # share of a region's pixels from which a second colour is an object of its own


@dataclass(frozen=True, slots=True)
class Found:
    """One object seen in a picture."""

    shape: str | None  # None: no shape fits
    colour: str
    large: bool
    x: float  # centre, pixels
    y: float
    overlap: float  # with the fitted shape


@dataclass(slots=True)
class Observation:
    background: int
    objects: list[Found] = field(default_factory=list)

    def count(self, shape: str | None, colour: str | None, large: bool | None = None) -> int:
        """Objects of this shape, colour and size; None means any."""
        want = (shape, colour, large)
        return sum(all(w in (None, h) for w, h in zip(want, (o.shape, o.colour, o.large), strict=True))
                   for o in self.objects)  # fmt: skip


def _unit_shapes() -> tuple[np.ndarray, np.ndarray]:
    """(area / radius^2, centroid y / radius) of every shape, measured on a fine raster."""
    grid = (np.arange(400) + 0.5) / 200 - 1
    x, y = np.meshgrid(grid * 1.2, grid * 1.2)
    covers = [coverage(s, x * 400, y * 400, 400.0) for s in range(len(SHAPES))]
    return np.array([c.mean() * 2.4**2 for c in covers]), np.array([(c * y).sum() / c.sum() for c in covers])


AREAS, CENTROIDS = _unit_shapes()


def _backgrounds(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest named background [n], and the measured colour [n, 3]."""
    index, colour = np.empty(len(pictures), np.int64), np.empty((len(pictures), 3))
    for i, picture in enumerate(pictures.reshape(len(pictures), -1, 3)):
        nearest = ((picture[:, None].astype(np.float32) - BACKGROUND_RGB) ** 2).sum(-1).argmin(1)
        index[i] = np.bincount(nearest, minlength=len(BACKGROUND_RGB)).argmax()
        colour[i] = np.median(picture[nearest == index[i]], axis=0)
    return index, colour


def _explain(pictures: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Palette colour of every pixel [n, height, width], -1 for background."""
    offset = pictures.astype(np.float32) - ground[:, None, None].astype(np.float32)
    best = np.full(pictures.shape[:3], np.inf, np.float32)
    colour = np.full(pictures.shape[:3], -1)
    strong = (offset**2).sum(-1) > LEAST_CONTRAST**2
    for c, rgb in enumerate(COLOUR_RGB.astype(np.float32)):
        line = (rgb - ground).astype(np.float32)[:, None, None]
        share = (offset * line).sum(-1) / (line**2).sum(-1)
        residual = ((offset - np.clip(share, 0, 1)[..., None] * line) ** 2).sum(-1)
        closer = residual < best
        colour = np.where(closer, np.where((share >= 0.5) & strong, c, -1), colour)
        best = np.where(closer, residual, best)
    return colour


def _fit(cover: np.ndarray, x: float, y: float) -> tuple[int, float, float, float]:
    """Best shape for a coverage map with its centroid at (x, y): (shape, overlap, radius, centre y)."""
    rows, columns = np.mgrid[: cover.shape[0], : cover.shape[1]] + 0.5
    area, best = cover.sum(), (-1, -1.0, 0.0, 0.0)
    for shape in range(len(SHAPES)):
        radius = float(np.sqrt(area / AREAS[shape]))
        middle = y - CENTROIDS[shape] * radius
        fitted = coverage(shape, columns - x, rows - middle, radius)
        overlap = float(np.minimum(fitted, cover).sum() / np.maximum(fitted, cover).sum())
        if overlap > best[1]:
            best = shape, overlap, radius, middle
    return best


def _parts(region: np.ndarray, colour: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """(mask, colour) of every object in a connected region: objects of different colours may touch."""
    tally = np.bincount(colour[region], minlength=len(COLOURS))
    several = np.flatnonzero(tally >= max(MIXED * region.sum(), LEAST_AREA / 2))
    if len(several) <= 1:
        yield region, int(tally.argmax())
    else:
        for c in several:
            yield region & (colour == c), int(c)


def _grown(mask: np.ndarray) -> np.ndarray:
    """With one pixel around: where the soft edge lies."""
    near = mask.copy()
    near[1:] |= mask[:-1]
    near[:-1] |= mask[1:]
    near[:, 1:] |= mask[:, :-1]
    near[:, :-1] |= mask[:, 1:]
    return near


def _measure(
    picture: np.ndarray, ground: np.ndarray, part: np.ndarray, others: np.ndarray, colour: int
) -> Found | None:
    """The object under the mask `part`; None for a speck. `others` are pixels that belong to other objects."""
    rows, columns = np.nonzero(part)
    top, left = max(rows.min() - 3, 0), max(columns.min() - 3, 0)
    box = np.s_[top : rows.max() + 4, left : columns.max() + 4]
    line = np.median(picture[part].astype(np.float64), axis=0) - ground
    share = ((picture[box] - ground) * line).sum(-1) / (line**2).sum()
    cover = np.clip(share, 0, 1) * (_grown(part[box]) & ~others[box])
    if cover.sum() < LEAST_AREA:
        return None
    ys, xs = np.mgrid[: cover.shape[0], : cover.shape[1]] + 0.5
    x, y = (cover * xs).sum() / cover.sum(), (cover * ys).sum() / cover.sum()
    shape, overlap, radius, middle = _fit(cover, x, y)
    name = SHAPES[shape] if overlap >= LEAST_OVERLAP else None
    large = bool(radius > RADII.mean())
    return Found(name, COLOURS[colour], large, float(left + x), float(top + middle), overlap)


def _objects(picture: np.ndarray, ground: np.ndarray, colour: np.ndarray, labels: np.ndarray) -> list[Found]:
    """Objects of one picture: [height, width] colour of every pixel, region of every pixel."""
    found = []
    for label in np.unique(labels[labels > 0]):
        region = labels == label
        if region.sum() >= LEAST_AREA / 2:
            for part, c in _parts(region, colour):
                found.append(_measure(picture, ground, part, (labels > 0) & ~part, c))
    return [f for f in found if f is not None]


def observe(pictures: np.ndarray) -> list[Observation]:
    """Sees [n, SIDE, SIDE, 3] uint8 RGB pictures. ValueError for another size: the judge measures in pixels."""
    if pictures.ndim != 4 or pictures.shape[1:] != (SIDE, SIDE, 3) or pictures.dtype != np.uint8:
        raise ValueError(
            f"judge: pictures are {pictures.dtype}{list(pictures.shape)}, expected uint8[n, {SIDE}, {SIDE}, 3]"
        )
    index, ground = _backgrounds(pictures)
    colour = _explain(pictures, ground)
    labels = connected(np.where(colour >= 0, 0, -1))
    return [Observation(int(index[i]), _objects(pictures[i], ground[i], colour[i], labels[i]))
            for i in range(len(pictures))]  # fmt: skip
