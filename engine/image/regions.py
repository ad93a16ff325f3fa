"""A colour map of a segmentation to its regions (spec 1.5)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from .components import connected
from .resample import nearest, nearest_index


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One connected area of one colour, in pixels of the source picture.

    colour  mean (red, green, blue) of the map there
    area    pixels
    box     left, top, right, bottom; right and bottom are the first pixels outside
    """

    colour: tuple[int, int, int]
    area: int
    box: tuple[int, int, int, int]
    _number: int = field(repr=False)
    _map: RegionMap = field(repr=False)

    @property
    def mask(self) -> np.ndarray:
        """[rows, columns] bool at the source picture's size, made on demand."""
        return nearest(self._map.numbers == self._number, *self._map.size)


@dataclass(frozen=True, slots=True, eq=False)
class RegionMap:
    """Region numbers at the map's own size, and the size of the source picture."""

    numbers: np.ndarray  # [map rows, map columns]
    size: tuple[int, int]  # source rows, columns


def palette(image: np.ndarray, distance: float, least: int) -> np.ndarray:
    """Colours of a map: [n, 3] float32, the most frequent first.

    Histogram of 16-value bins. The fullest bin gathers the free bins within `distance` (RGB, Euclidean); a group of
    `least` pixels or more makes a colour, its mean, and the fullest bin that is still free starts the next one.
    """
    pixels = image.reshape(-1, 3)
    bins = (pixels.astype(np.int64) >> 4) @ np.array([256, 16, 1])
    counts = np.bincount(bins, minlength=4096)
    sums = np.stack([np.bincount(bins, pixels[:, channel], 4096) for channel in range(3)], axis=1)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    counts, sums = counts[order], sums[order]
    means = sums / counts[:, None]
    free = np.ones(len(order), bool)
    found = []
    for place in range(len(order)):
        near = free & (((means - means[place]) ** 2).sum(axis=1) <= distance**2)
        if free[place] and (not found or counts[near].sum() >= least):
            free &= ~near
            found.append(sums[near].sum(axis=0) / counts[near].sum())
    return np.array(found, np.float32)


def nearest_colour(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """[rows, columns] index of the nearest colour; the lower one on a tie."""
    pixels = image.reshape(-1, 3).astype(np.float32)
    # |p - c|^2 without |p|^2, which is the same for all c
    far = (colours**2).sum(axis=1) - 2 * (pixels @ colours.T)
    return far.argmin(axis=1).reshape(image.shape[:2])


def lasting(numbers: np.ndarray, count: int, least: int, thinnest: int) -> np.ndarray:
    """[count] bool: the parts with `least` pixels or more that hold a square of `thinnest` x `thinnest`."""
    large = np.bincount(numbers.ravel(), minlength=count) >= least
    if thinnest == 1 or min(numbers.shape) < thinnest:
        return large
    windows = np.lib.stride_tricks.sliding_window_view
    low = windows(windows(numbers, thinnest, axis=0).min(axis=-1), thinnest, axis=1).min(axis=-1)
    high = windows(windows(numbers, thinnest, axis=0).max(axis=-1), thinnest, axis=1).max(axis=-1)
    wide = np.zeros(count, bool)
    wide[low[low == high]] = True
    return large & wide


def absorb_small(labels: np.ndarray, least: int, thinnest: int) -> tuple[np.ndarray, np.ndarray]:
    """Give every part that is not `lasting` to the lasting neighbour it shares most border with.

    returns  [rows, columns] part numbers, and [count] which parts last; where none does, as in noise, none is left
    """
    while True:
        numbers, count = connected(labels)
        large = lasting(numbers, count, least, thinnest)
        pairs = np.concatenate([
            np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1),
            np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1),
        ])  # fmt: skip
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        pairs = pairs[~large[pairs[:, 0]] & large[pairs[:, 1]]]
        if not len(pairs):
            return numbers, large
        borders, lengths = np.unique(pairs, axis=0, return_counts=True)
        target = np.arange(count)
        longest_last = np.argsort(lengths, kind="stable")
        target[borders[longest_last, 0]] = borders[longest_last, 1]
        label_of = np.zeros(count, labels.dtype)
        label_of[numbers] = labels
        labels = label_of[target][numbers]


def regions(
    colour_map: np.ndarray,
    size: tuple[int, int],
    *,
    distance: float = 48.0,
    least: float = 0.001,
    thinnest: int = 3,
) -> list[Region]:
    """Regions of a colour map, the largest first; none where the map is noise.

    colour_map  [rows, columns, 3] uint8
    size        (rows, columns) of the source picture, to which regions are scaled by the nearest pixel
    distance    colours of the map closer than this are one (RGB, Euclidean; black to white is 442)
    least       share of the map below which a part is given to its neighbour, 0 .. 1
    thinnest    map pixels; so is a part that is nowhere this wide: the blended edge between two colours
    """
    if colour_map.ndim != 3 or colour_map.shape[2] != 3 or colour_map.dtype != np.uint8 or not colour_map.size:
        raise InputError(f"colour map is {colour_map.dtype} {colour_map.shape}; pass [rows, columns, 3] uint8")
    if not distance > 0 or not 0 <= least <= 1 or thinnest < 1 or min(size) < 1:
        raise InputError(
            f"regions: distance={distance}, least={least}, thinnest={thinnest}, size={size}; "
            "use distance > 0, least 0 .. 1, thinnest >= 1 and sides >= 1"
        )
    height, width = colour_map.shape[:2]
    fewest = max(1, round(least * height * width))
    labels = nearest_colour(colour_map, palette(colour_map, distance, fewest))
    numbers, large = absorb_small(labels, fewest, thinnest)
    count = len(large)

    rows, columns = nearest_index(height, size[0]), nearest_index(width, size[1])
    scaled = RegionMap(numbers, size)
    pixels = np.bincount(numbers.ravel(), minlength=count)
    means = [np.bincount(numbers.ravel(), colour_map[..., channel].ravel(), count) / pixels for channel in range(3)]
    # Source pixels that read each map pixel: areas and boxes need no picture of the source's size.
    repeats = np.outer(np.bincount(rows, minlength=height), np.bincount(columns, minlength=width))
    areas = np.bincount(numbers.ravel(), repeats.ravel(), count).astype(np.int64)
    found = []
    for number in np.argsort(-areas, kind="stable"):
        if large[number] and areas[number]:
            inside = (numbers == number) & (repeats > 0)
            top, bottom = _span(inside.any(axis=1), rows)
            left, right = _span(inside.any(axis=0), columns)
            colour = tuple(int(np.rint(mean[number])) for mean in means)
            found.append(Region(colour, int(areas[number]), (left, top, right, bottom), int(number), scaled))
    return found


def _span(used: np.ndarray, reads: np.ndarray) -> tuple[int, int]:
    """First and one past the last source place that reads a used one."""
    places = np.flatnonzero(used[reads])
    return int(places[0]), int(places[-1]) + 1
