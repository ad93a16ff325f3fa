"""Connected regions of masks, many pictures at once."""

from __future__ import annotations

import numpy as np


def connected(keys: np.ndarray) -> np.ndarray:
    """Labels of 4-connected regions of equal key.

    keys     [pictures, height, width] int; negative is background
    returns  same shape, int64: 0 for background; a region has one positive label, different within a picture
    """
    labels = np.where(keys >= 0, 1 + np.arange(keys[0].size).reshape(keys[0].shape), 0)
    down, right = keys[:, 1:] == keys[:, :-1], keys[:, :, 1:] == keys[:, :, :-1]
    while True:
        before = labels.copy()
        for low, high, same in ((labels[:, :-1], labels[:, 1:], down), (labels[:, :, :-1], labels[:, :, 1:], right)):
            best = np.where(same, np.maximum(low, high), 0)
            np.maximum(low, best, out=low)
            np.maximum(high, best, out=high)
        # pointer jumping: a label is the flat position of a pixel, whose own label may be higher by now
        flat = labels.reshape(len(labels), -1)
        jumped = np.take_along_axis(np.concatenate([np.zeros((len(flat), 1), np.int64), flat], 1), flat, 1)
        np.maximum(flat, jumped, out=flat)
        if np.array_equal(before, labels):
            return labels
