"""Instructions that turn one scene into another."""

from __future__ import annotations

import numpy as np

from .palette import BACKGROUNDS, COLOURS, DIRECTIONS, GRID, JITTER, MOST, OFFSETS, SHAPES, SIZES, STEP
from .scene import Scenes
from .words import article, pick, quadrant, quadrant_of

KINDS = ("add", "remove", "recolour", "replace", "move", "background")
MAP_INSTRUCTIONS = (
    "Segment the image: paint every object in its own distinct solid color.",  # the engine's own wording
    "Segment every object in its own color.",
    "Paint each object in a different color on black.",
    "Generate a segmentation map of the objects.",
)


def _name(scenes: Scenes, i: int, slot: int) -> str:
    return f"{COLOURS[scenes.colour[i, slot]]} {SHAPES[scenes.shape[i, slot]]}"


def _unique_slot(rng, scenes: Scenes, i: int) -> int | None:
    names = [_name(scenes, i, s) for s in range(scenes.count[i])]
    slots = [s for s, name in enumerate(names) if names.count(name) == 1]
    return pick(rng, slots) if slots else None


def _other(rng, values, current: int) -> int:
    return int((current + rng.integers(1, len(values))) % len(values))


def _add(rng, scenes, i):
    if scenes.count[i] == MOST:
        return None
    free = np.setdiff1d(np.arange(GRID * GRID), scenes.cell[i, : scenes.count[i]])
    quadrants = np.array([quadrant_of(cell) for cell in free])
    named = rng.random() < 0.7
    within = pick(rng, quadrants) if named else quadrants[0]
    slot = int(scenes.count[i])
    scenes.count[i] += 1
    scenes.shape[i, slot], scenes.colour[i, slot] = rng.integers(len(SHAPES)), rng.integers(len(COLOURS))
    # What the words leave open has one answer: a model that is fitted to several ones paints none of them.
    scenes.size[i, slot], scenes.cell[i, slot] = SIZES.index("large"), free[quadrants == within][0]
    scenes.dx[i, slot] = scenes.dy[i, slot] = round(JITTER / STEP)
    where = f" in the {quadrant(scenes.cell[i, slot])}" if named else ""
    return f"{pick(rng, ('Add', 'Put'))} {article(_name(scenes, i, slot))}{where}."


def _remove(rng, scenes, i):
    slot = _unique_slot(rng, scenes, i)
    if slot is None or scenes.count[i] == 1:
        return None
    words = f"{pick(rng, ('Remove', 'Delete', 'Erase'))} the {_name(scenes, i, slot)}."
    last = int(scenes.count[i]) - 1
    for values in (scenes.shape, scenes.colour, scenes.size, scenes.cell, scenes.dx, scenes.dy):
        values[i, slot] = values[i, last]
    scenes.count[i] -= 1
    return words


def _recolour(rng, scenes, i):
    slot = _unique_slot(rng, scenes, i)
    if slot is None:
        return None
    old = _name(scenes, i, slot)
    scenes.colour[i, slot] = _other(rng, COLOURS, scenes.colour[i, slot])
    form = pick(rng, ("Make the {0} {1}.", "Change the color of the {0} to {1}.", "Turn the {0} {1}."))
    return form.format(old, COLOURS[scenes.colour[i, slot]])


def _replace(rng, scenes, i):
    slot = _unique_slot(rng, scenes, i)
    if slot is None:
        return None
    old = _name(scenes, i, slot)
    scenes.shape[i, slot] = _other(rng, SHAPES, scenes.shape[i, slot])
    scenes.colour[i, slot] = rng.integers(len(COLOURS))
    form = pick(rng, ("Replace the {0} with {1}.", "Change the {0} into {1}."))
    return form.format(old, article(_name(scenes, i, slot)))


def _move(rng, scenes, i):
    slot = _unique_slot(rng, scenes, i)
    if slot is None:
        return None
    row, column = divmod(int(scenes.cell[i, slot]), GRID)
    taken = set(scenes.cell[i, : scenes.count[i]].tolist())
    ways = []
    for way, (down, right) in enumerate(OFFSETS):
        to = row + down, column + right
        if min(to) >= 0 and max(to) < GRID and to[0] * GRID + to[1] not in taken:
            ways.append((way, to[0] * GRID + to[1]))
    if not ways:
        return None
    way, scenes.cell[i, slot] = pick(rng, ways)
    return pick(rng, ("Move the {0} {1}.", "Shift the {0} {1}.")).format(_name(scenes, i, slot), DIRECTIONS[way])


def _background(rng, scenes, i):
    scenes.background[i] = _other(rng, BACKGROUNDS, scenes.background[i])
    form = pick(rng, ("Change the background to {0}.", "Make the background {0}.", "Use a {0} background."))
    return form.format(BACKGROUNDS[scenes.background[i]])


EDIT = {"add": _add, "remove": _remove, "recolour": _recolour, "replace": _replace, "move": _move,
        "background": _background}  # fmt: skip


def edit(rng: np.random.Generator, scenes: Scenes, kinds: list[str] | np.ndarray) -> tuple[Scenes, list[str | None]]:
    """Applies kinds[i] to scene i. Returns the scenes after the edit and the instructions; None where scene i allows
    no such edit (its scene is then unchanged). Objects that are not named stay where they are."""
    after = scenes.take(slice(None))
    words = [EDIT[kind](rng, after, i) for i, kind in enumerate(kinds)]
    return after.sort(), words
