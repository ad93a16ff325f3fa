"""Connected components of a label map, in numpy."""

from __future__ import annotations

import numpy as np


def _merge(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[count] root of every node, where first[k] and second[k] belong together; roots are the least of their set."""
    root = np.arange(count)
    while True:
        one, other = root[first], root[second]
        apart = one != other
        if not apart.any():
            return root
        first, second, one, other = first[apart], second[apart], one[apart], other[apart]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := root[root], root):
            root = shorter


def connected(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Parts of equal label that hang together by their sides.

    labels   [rows, columns] integers
    returns  [rows, columns] int64 numbers 0 .. n - 1 in reading order of the parts' first pixels, and n
    """
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    runs = np.cumsum(starts).reshape(labels.shape) - 1  # number of the horizontal run of every pixel
    touch = labels[1:] == labels[:-1]
    first = starts[1:] | starts[:-1]  # one contact of two runs is enough: where either begins
    touch &= first
    root = _merge(int(runs[-1, -1]) + 1, runs[:-1][touch], runs[1:][touch])
    kept, number = np.unique(root, return_inverse=True)
    return number[runs], len(kept)
