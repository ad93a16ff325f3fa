"""Captions and prompts of one scene, in varied wording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .holdout import holds_between
from .palette import BACKGROUNDS, COLOURS, GRID, NUMBERS, PLURALS, QUADRANTS, RELATIONS, SHAPES, SIZES
from .scene import Scenes

LEADS = ("", "", "a picture of ", "an image of ", "a photo of ", "draw ", "show me ", "an image with ")
ENDS = (" on a {0} background", " with a {0} background", " on {0}", ", {0} background")
RELATION_WORDS = {
    "left of": ("left of", "to the left of"), "right of": ("right of", "to the right of"),
    "above": ("above", "over"), "below": ("below", "under"),
}  # fmt: skip


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def counted(number: int, words: str, shape: str) -> str:
    """ "a red star", "three red stars"; words without the shape."""
    name = shape if number == 1 else PLURALS[shape]
    noun = f"{words} {name}" if words else name
    return article(noun) if number == 1 else f"{NUMBERS[number]} {noun}"


def listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def quadrant_of(cell: int) -> int:
    row, column = divmod(int(cell), GRID)
    return 2 * (2 * row // GRID) + 2 * column // GRID


def quadrant(cell: int) -> str:
    return QUADRANTS[quadrant_of(cell)]


def pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def groups(scenes: Scenes, i: int) -> list[tuple[int, str, str]]:
    """(number, colour, shape) of equal objects in reading order."""
    tally: dict[tuple[str, str], int] = {}
    for slot in range(scenes.count[i]):
        key = COLOURS[scenes.colour[i, slot]], SHAPES[scenes.shape[i, slot]]
        tally[key] = tally.get(key, 0) + 1
    return [(number, *key) for key, number in tally.items()]


def plain(scenes: Scenes, i: int) -> str:
    """The one full description: every group in reading order, then the background."""
    parts = listed([counted(n, colour, shape) for n, colour, shape in groups(scenes, i)])
    return f"{parts} on a {BACKGROUNDS[scenes.background[i]]} background"


@dataclass(frozen=True, slots=True)
class Part:
    """Equal objects of a request, by index; None for what it leaves open."""

    number: int
    shape: int
    colour: int | None = None
    size: int | None = None
    quadrant: int | None = None

    def words(self) -> str:
        said = [names[i] for names, i in ((SIZES, self.size), (COLOURS, self.colour)) if i is not None]
        noun = counted(self.number, " ".join(said), SHAPES[self.shape])
        return noun if self.quadrant is None else f"{noun} in the {QUADRANTS[self.quadrant]}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for. A relation is that of the first part, one object, to the second one."""

    parts: tuple[Part, ...]
    relation: int | None = None
    background: int | None = None

    def words(self, rng: np.random.Generator) -> str:
        said = [part.words() for part in self.parts]
        body = listed(said) if self.relation is None else f"{said[0]} {self._related(rng)} {said[1]}"
        text = f"{pick(rng, LEADS)}{body}"
        return text if self.background is None else text + pick(rng, ENDS).format(BACKGROUNDS[self.background])

    def _related(self, rng: np.random.Generator) -> str:
        return pick(rng, RELATION_WORDS[RELATIONS[self.relation]])


def ask(rng: np.random.Generator, scenes: Scenes, i: int) -> Asked:
    """A request that scene i fulfils: what must be there, sometimes where, sometimes on what."""
    count, draw = int(scenes.count[i]), rng.random()
    background = int(scenes.background[i]) if rng.random() < 0.6 else None
    shape, colour = scenes.shape[i].tolist(), scenes.colour[i].tolist()
    if count == 1:
        size = int(scenes.size[i, 0]) if rng.random() < 0.5 else None
        where = quadrant_of(scenes.cell[i, 0]) if rng.random() < 0.3 else None
        return Asked((Part(1, shape[0], colour[0] if draw < 0.6 else None, size, where),), None, background)
    if count == 2 and draw < 0.4 and (shape[0], colour[0]) != (shape[1], colour[1]):
        relation = pick(rng, [r for r in range(4) if bool(holds_between(scenes.take([i]), 0, 1, r)[0])])
        both = Part(1, shape[0], colour[0]), Part(1, shape[1], colour[1])
        if rng.random() < 0.5:
            both, relation = both[::-1], relation ^ 1
        return Asked(both, relation, background)
    # Two shapes of any colour are the hardest to agree on for the cells of a picture, and stand here the more often.
    coloured = draw < (0.6 if count == 2 else 0.8)
    tally: dict[tuple[int, int | None], int] = {}
    for kind in zip(shape[:count], colour[:count] if coloured else [None] * count, strict=True):
        tally[kind] = tally.get(kind, 0) + 1
    # In reading order, as `plain`: of two different objects the first one named stands first.
    return Asked(tuple(Part(number, *kind) for kind, number in tally.items()), None, background)
