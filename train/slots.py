"""A request as a table of slots: what the painter's throw-away encoder reads in the place of words."""

from __future__ import annotations

import numpy as np

from .world.palette import BACKGROUNDS, COLOURS, MOST, QUADRANTS, RELATIONS, SHAPES, SIZES
from .world.words import Asked

NOTHING, SCENE, OBJECT, ANYTHING, CELL = range(5)  # kinds of a slot
# Values of each field of a slot, 0 where the request leaves it open. An object's relation is that to the other one.
FIELDS = {"kind": 5, "shape": 1 + len(SHAPES), "colour": 1 + len(COLOURS), "size": 1 + len(SIZES),
          "quadrant": 1 + len(QUADRANTS), "relation": 1 + len(RELATIONS), "background": 1 + len(BACKGROUNDS),
          "number": 1 + MOST}  # fmt: skip


def _value(index: int | None) -> int:
    return 0 if index is None else 1 + index


def table(requests: list[Asked | None], slots: int) -> np.ndarray:
    """[batch, slots, fields] int64: the scene, then every object that is asked for, of two related ones the left or
    upper one first; ANYTHING in place of no request."""
    found = np.zeros((len(requests), slots, len(FIELDS)), np.int64)
    for rows, request in zip(found, requests, strict=True):
        if request is None:
            rows[0, 0] = ANYTHING
            continue
        turned = request.relation is not None and request.relation % 2  # right of, below: the other one first
        objects = [
            (OBJECT, _value(p.shape), _value(p.colour), _value(p.size), _value(p.quadrant), 0, 0, 0)
            for p in (request.parts[::-1] if turned else request.parts)
            for _ in range(p.number)
        ]
        rows[0] = (SCENE, 0, 0, 0, 0, 0, _value(request.background), len(objects))
        rows[1 : 1 + len(objects)] = objects
        if request.relation is not None:
            first = request.relation ^ 1 if turned else request.relation
            rows[1:3, 5] = 1 + first, 1 + (first ^ 1)
    return found
