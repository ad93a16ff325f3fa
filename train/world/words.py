"""Captions and prompts of one scene, in varied wording."""

from __future__ import annotations

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


def quadrant(cell: int) -> str:
    row, column = divmod(int(cell), GRID)
    return QUADRANTS[2 * (2 * row // GRID) + 2 * column // GRID]


def pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def groups(scenes: Scenes, i: int, *, by_colour: bool = True) -> list[tuple[int, str, str]]:
    """(number, colour, shape) of equal objects in reading order; colour is "" unless `by_colour`."""
    tally: dict[tuple[str, str], int] = {}
    for slot in range(scenes.count[i]):
        colour = COLOURS[scenes.colour[i, slot]] if by_colour else ""
        key = colour, SHAPES[scenes.shape[i, slot]]
        tally[key] = tally.get(key, 0) + 1
    return [(number, *key) for key, number in tally.items()]


def plain(scenes: Scenes, i: int) -> str:
    """The one full description: every group in reading order, then the background."""
    parts = listed([counted(n, colour, shape) for n, colour, shape in groups(scenes, i)])
    return f"{parts} on a {BACKGROUNDS[scenes.background[i]]} background"


def _body(rng: np.random.Generator, scenes: Scenes, i: int) -> str:
    count = int(scenes.count[i])
    draw = rng.random()
    if count == 1:
        size = f"{SIZES[scenes.size[i, 0]]} " if rng.random() < 0.3 else ""
        colour = f"{COLOURS[scenes.colour[i, 0]]} " if draw < 0.7 else ""
        body = article(f"{size}{colour}{SHAPES[scenes.shape[i, 0]]}")
        return f"{body} in the {quadrant(scenes.cell[i, 0])}" if rng.random() < 0.3 else body
    if count == 2 and draw < 0.6:
        relations = [r for r in range(4) if bool(holds_between(scenes.take([i]), 0, 1, r)[0])]
        first, second = (counted(1, COLOURS[scenes.colour[i, s]], SHAPES[scenes.shape[i, s]]) for s in (0, 1))
        relation = pick(rng, relations)
        if rng.random() < 0.5:
            first, second, relation = second, first, relation ^ 1
        return f"{first} {pick(rng, RELATION_WORDS[RELATIONS[relation]])} {second}"
    shapes_only = groups(scenes, i, by_colour=False)
    parts = shapes_only if draw > 0.85 else groups(scenes, i)
    rng.shuffle(parts)
    return listed([counted(n, colour, shape) for n, colour, shape in parts])


def prompt(rng: np.random.Generator, scenes: Scenes, i: int) -> str:
    """A request that scene i fulfils: what must be there, sometimes where, sometimes on what."""
    body = f"{pick(rng, LEADS)}{_body(rng, scenes, i)}"
    return body + pick(rng, ENDS).format(BACKGROUNDS[scenes.background[i]]) if rng.random() < 0.6 else body
