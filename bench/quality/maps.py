"""How well a colour map separates the instances of a scene."""

from __future__ import annotations

import numpy as np
from spar_train.world.palette import MAP_BACKGROUND, MAP_RGB

LEAST_REGION = 20  # pixels; smaller specks of a colour are not a region


def regions(maps: np.ndarray) -> np.ndarray:
    """uint8 [n, side, side, 3] -> [n, side, side] int64: 0 background, else 1 + index of the nearest map colour."""
    palette = np.concatenate([MAP_BACKGROUND[None], MAP_RGB]).astype(np.float32)
    return ((maps[..., None, :].astype(np.float32) - palette) ** 2).sum(-1).argmin(-1)


def instance_iou(label: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(matched, ordered) mean IoU of one picture's instances, [side, side] each.

    matched  best one-to-one matching of regions and instances; surplus regions count as instances with IoU 0
    ordered  the n-th instance against the n-th colour
    """
    instances = np.unique(truth[truth > 0])
    found = [r for r in np.unique(label[label > 0]) if (label == r).sum() >= LEAST_REGION]
    table = np.array([[((truth == i) & (label == r)).sum() / ((truth == i) | (label == r)).sum() for r in found]
                      for i in instances]).reshape(len(instances), len(found))  # fmt: skip
    total, left = 0.0, table.copy()
    for _ in range(min(table.shape)):  # instances do not overlap, so greedy matching is best here
        i, r = np.unravel_index(left.argmax(), left.shape)
        total += left[i, r]
        left[i], left[:, r] = -1, -1
    ordered = [((truth == i) & (label == i)).sum() / ((truth == i) | (label == i)).sum() for i in instances]
    return total / max(len(instances), len(found)), float(np.mean(ordered))
