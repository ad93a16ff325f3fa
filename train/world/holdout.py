"""Compositions that training never sees. The rule is a fixed hash, so it is the same on every machine and run.

A scene is held out when it contains one of
  object      (shape, colour): for shape i the colour (3 i + 1) mod 8
  single      alone in the picture: (shape, size, background) with hash % 6 == 0
  shapes      exactly two objects, of different shapes: (unordered shapes, background) with hash % 8 == 0
  count       n >= 2 objects of one shape and colour: (n, shape, colour) with hash % 8 == 0
  two         an unordered pair of different (shape, colour) with hash % 50 == 0
  position    (A, relation, B) with hash % 50 == 1..4, one number for each relation
"""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np

from .palette import BACKGROUNDS, COLOURS, MOST, RELATIONS, SHAPES, SIZES
from .scene import Scenes

KINDS = len(SHAPES) * len(COLOURS)  # kind of an object = shape * len(COLOURS) + colour


def kind_name(kind: int) -> str:
    return f"{COLOURS[kind % len(COLOURS)]} {SHAPES[kind // len(COLOURS)]}"


def _hash(*words) -> int:
    return zlib.crc32(" ".join(map(str, words)).encode())


@cache
def objects() -> np.ndarray:
    """[KINDS] bool: held-out (shape, colour)."""
    held = np.zeros((len(SHAPES), len(COLOURS)), bool)
    for shape in range(len(SHAPES)):
        held[shape, (3 * shape + 1) % len(COLOURS)] = True
    return held.reshape(-1)


@cache
def singles() -> np.ndarray:
    """[shapes, sizes, backgrounds] bool."""
    return np.array([[[_hash("single", s, z, b) % 6 == 0 for b in BACKGROUNDS] for z in SIZES] for s in SHAPES])


@cache
def shape_pairs() -> np.ndarray:
    """[shapes, shapes, backgrounds] symmetric bool."""
    table = np.zeros((len(SHAPES), len(SHAPES), len(BACKGROUNDS)), bool)
    for a, first in enumerate(SHAPES):
        for b in range(a + 1, len(SHAPES)):
            table[a, b] = table[b, a] = [_hash("shapes", first, SHAPES[b], g) % 8 == 0 for g in BACKGROUNDS]
    return table


@cache
def counts() -> np.ndarray:
    """[MOST + 1, KINDS] bool; rows 0 and 1 are empty."""
    return np.array([[n > 1 and _hash("count", n, kind_name(k)) % 8 == 0 for k in range(KINDS)]
                     for n in range(MOST + 1)])  # fmt: skip


@cache
def pairs() -> np.ndarray:
    """[KINDS, KINDS] symmetric int: the pair's hash % 50; 0 is "two", 1..4 the relations of the lower kind to the
    higher one, anything else is free. Equal kinds are free."""
    table = np.full((KINDS, KINDS), 5)
    for a in range(KINDS):
        for b in range(a + 1, KINDS):
            table[a, b] = table[b, a] = _hash("pair", kind_name(a), kind_name(b)) % 50
    return table


def relation_of(kind_a, kind_b, relation):
    """The held-out table speaks of (lower kind, relation, higher kind): turns a relation round when needed."""
    return np.where(kind_a <= kind_b, relation, relation ^ 1)


def held_out(scenes: Scenes) -> np.ndarray:
    """[batch] bool: does the scene contain a composition that training may not see?"""
    kind, present = scenes.shape * len(COLOURS) + scenes.colour, scenes.present()
    bad = (objects()[kind] & present).any(1)
    first = (np.arange(len(scenes)), 0)
    alone = scenes.count == 1
    bad |= alone & singles()[scenes.shape[first], scenes.size[first], scenes.background]
    second = scenes.shape[:, 1]
    bad |= (scenes.count == 2) & shape_pairs()[scenes.shape[first], second, scenes.background]
    same = (kind[:, :, None] == kind[:, None, :]) & present[:, :, None] & present[:, None, :]
    bad |= (counts()[same.sum(2), kind] & present).any(1)
    for a in range(MOST):
        for b in range(a + 1, MOST):
            both, code = present[:, b], pairs()[kind[:, a], kind[:, b]]
            bad |= both & (code == 0)
            for relation in range(len(RELATIONS)):
                holds = holds_between(scenes, a, b, relation)
                bad |= both & holds & (code == 1 + relation_of(kind[:, a], kind[:, b], relation))
    return bad


def holds_between(scenes: Scenes, a, b, relation: int) -> np.ndarray:
    """[batch] bool: does object a stand in this relation to object b (slots; by rows and columns of the grid)?"""
    axis = scenes.column() if relation < 2 else scenes.row()
    every = np.arange(len(scenes))
    return axis[every, a] < axis[every, b] if relation % 2 == 0 else axis[every, a] > axis[every, b]
