"""Pictures to what the vision tower reads (spec 1.3, 1.7, 3.5). Pictures in are [rows, columns, 3] uint8."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .resample import bicubic

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


@cache
def _table(folded: bool) -> np.ndarray:
    """[3, 256] float32: normalised value of every byte, in the original's order of roundings.

    Editing goes through an image processor that folds the 1/255 into mean and deviation; the others divide first."""
    byte = np.arange(256, dtype=np.float32)
    if folded:
        scale = np.float32(1 / 0.00392156862745098)
        table = (byte - (MEAN * scale)[:, None]) / (STD * scale)[:, None]
    else:
        table = (byte / np.float32(255) - MEAN[:, None]) / STD[:, None]
    table.setflags(write=False)
    return table


def normalise(image: np.ndarray, folded: bool = False) -> np.ndarray:
    """[rows, columns, 3] uint8 to [3, rows, columns] float32, ImageNet mean and deviation."""
    return np.stack([np.take(values, image[..., channel]) for channel, values in enumerate(_table(folded))])


def squash(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize to (height, width) without regard to the aspect ratio; one number makes a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return bicubic(image, height, width)


def crop(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the shorter side to `size`, then cut the middle `size` x `size`."""
    rows, columns = image.shape[:2]
    shorter = min(rows, columns)
    height, width = (size * rows // shorter, size * columns // shorter)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return bicubic(image, height, width)[top : top + size, left : left + size]


def edit_pixels(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Source picture of an edit, [1, 3, height, width] float32: squashed and normalised."""
    return normalise(squash(image, size), folded=True)[None]


def reconstruct_pixels(image: np.ndarray, size: int) -> np.ndarray:
    """Picture to reconstruct, [1, 3, size, size] float32: middle square, normalised."""
    return normalise(crop(image, size))[None]


class Padding(NamedTuple):
    """Pixels added around a picture to reach a multiple of the patch pair."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of [..., rows, columns] inside the padding."""
        rows, columns = image.shape[-2:]
        return image[..., self.top : rows - self.bottom, self.left : columns - self.right]


def reflect_pad(pixels: np.ndarray, multiple: int = 28) -> tuple[np.ndarray, Padding]:
    """Mirror [..., rows, columns] at its edges up to multiples of `multiple`, the smaller half above and to the left.

    Normalised pixels may be padded as they are: a mirrored value is a copy, in any units."""
    extra = [-size % multiple for size in pixels.shape[-2:]]
    for size, more in zip(pixels.shape[-2:], extra, strict=True):
        if (more + 1) // 2 >= size:
            raise InputError(f"picture side of {size} pixels is too short to mirror up to {size + more}; enlarge it")
    padding = Padding(extra[0] // 2, extra[0] - extra[0] // 2, extra[1] // 2, extra[1] - extra[1] // 2)
    around = [(0, 0)] * (pixels.ndim - 2) + [padding[:2], padding[2:]]
    return np.pad(pixels, around, mode="reflect"), padding


def tile_grid(rows: int, columns: int, size: int, most: int = 12, least: int = 1) -> tuple[int, int]:
    """InternVL's grid for a picture: (tiles across, tiles down), least <= their product <= most."""
    if not 1 <= least <= most:
        raise InputError(f"tiles from {least} to {most} make no range; use 1 <= least <= most")
    grids = [(i, j) for i in range(1, most + 1) for j in range(1, most // i + 1) if i * j >= least]
    best, distance = (1, 1), float("inf")
    for i, j in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        off = abs(columns / rows - i / j)
        if off < distance or (off == distance and rows * columns > 0.5 * size * size * i * j):
            best, distance = (i, j), off
    return best


def tiles(image: np.ndarray, size: int, most: int = 12, least: int = 1, thumbnail: bool = True) -> list[np.ndarray]:
    """Tiles of `size` x `size` in reading order; where there are several, the whole picture small comes last."""
    across, down = tile_grid(*image.shape[:2], size, most, least)
    whole = bicubic(image, size * down, size * across)
    cut = [
        whole[size * row : size * (row + 1), size * column : size * (column + 1)]
        for row in range(down)
        for column in range(across)
    ]
    return [*cut, bicubic(image, size, size)] if thumbnail and len(cut) > 1 else cut


def chat_pixels(image: np.ndarray, size: int, max_tiles: int = 1) -> np.ndarray:
    """Picture of a question, [tiles, 3, size, size] float32; max_tiles 1 squashes it into one."""
    return np.stack([normalise(tile) for tile in tiles(image, size, max_tiles)])
