"""Questions about a scene with answers of a few words."""

from __future__ import annotations

import numpy as np

from .palette import BACKGROUNDS, COLOURS, NUMBERS, PLURALS, SHAPES
from .scene import Scenes
from .words import article, pick, plain, quadrant

KINDS = ("what", "colour", "count", "exists", "where", "compare", "background", "describe")
DESCRIBE = ("Describe the image.", "What is in the image?", "Give a caption for the image.")


def _objects(scenes: Scenes, i: int) -> list[tuple[str, str]]:
    return [(COLOURS[scenes.colour[i, s]], SHAPES[scenes.shape[i, s]]) for s in range(scenes.count[i])]


def _unique(values: list) -> list[int]:
    return [slot for slot, value in enumerate(values) if values.count(value) == 1]


def _what(rng, scenes, i, objects):
    slots = _unique([colour for colour, _ in objects])
    if not slots:
        return None
    colour, shape = objects[pick(rng, slots)]
    return pick(rng, ("What shape is the {0} object?", "Which shape is {0}?")).format(colour), shape


def _colour(rng, scenes, i, objects):
    slots = _unique([shape for _, shape in objects])
    if not slots:
        return None
    colour, shape = objects[pick(rng, slots)]
    return pick(rng, ("What color is the {0}?", "Which color does the {0} have?")).format(shape), colour


def _count(rng, scenes, i, objects):
    draw = rng.random()
    colour, shape = pick(rng, objects) if draw < 0.7 else (pick(rng, COLOURS), pick(rng, SHAPES))
    kind = rng.integers(4)
    noun, found = (
        ("objects", len(objects)),
        (f"{colour} objects", sum(c == colour for c, _ in objects)),
        (PLURALS[shape], sum(s == shape for _, s in objects)),
        (f"{colour} {PLURALS[shape]}", objects.count((colour, shape))),
    )[kind]
    return pick(rng, ("How many {0} are there?", "How many {0} are in the image?")).format(noun), NUMBERS[found]


def _exists(rng, scenes, i, objects):
    colour, shape = pick(rng, objects)
    if rng.random() < 0.5:  # change one property, so that a guess from the other one fails
        if rng.random() < 0.5:
            colour = pick(rng, COLOURS)
        else:
            shape = pick(rng, SHAPES)
    question = pick(rng, ("Is there {0}?", "Is there {0} in the image?")).format(article(f"{colour} {shape}"))
    return question, "yes" if (colour, shape) in objects else "no"


def _where(rng, scenes, i, objects):
    slots = _unique(objects)
    if not slots:
        return None
    slot = pick(rng, slots)
    return f"Where is the {' '.join(objects[slot])}?", quadrant(scenes.cell[i, slot])


def _compare(rng, scenes, i, objects):
    slots = _unique(objects)
    if len(slots) < 2 or rng.random() < 0.25:
        first, second = rng.permutation(len(SHAPES))[:2]
        shapes = [shape for _, shape in objects]
        if rng.random() < 0.7:
            first = scenes.shape[i, rng.integers(len(objects))]
        if first == second:
            return None
        more = shapes.count(SHAPES[first]) > shapes.count(SHAPES[second])
        return f"Are there more {PLURALS[SHAPES[first]]} than {PLURALS[SHAPES[second]]}?", "yes" if more else "no"
    a, b = rng.permutation(slots)[:2]
    name_a, name_b = " ".join(objects[a]), " ".join(objects[b])
    if rng.random() < 0.4 and scenes.size[i, a] != scenes.size[i, b]:
        larger = scenes.size[i, a] > scenes.size[i, b]
        return f"Is the {name_a} larger than the {name_b}?", "yes" if larger else "no"
    axis, words = ((scenes.column(), ("left of", "right of")), (scenes.row(), ("above", "below")))[rng.integers(2)]
    word = int(rng.integers(2))
    holds = axis[i, a] < axis[i, b] if word == 0 else axis[i, a] > axis[i, b]
    return f"Is the {name_a} {words[word]} the {name_b}?", "yes" if holds else "no"


def _background(rng, scenes, i, objects):
    return pick(rng, ("What color is the background?", "Which background does the image have?")), BACKGROUNDS[
        scenes.background[i]
    ]


def _describe(rng, scenes, i, objects):
    return pick(rng, DESCRIBE), plain(scenes, i)


ASK = {"what": _what, "colour": _colour, "count": _count, "exists": _exists, "where": _where, "compare": _compare,
       "background": _background, "describe": _describe}  # fmt: skip


def question(rng: np.random.Generator, scenes: Scenes, i: int, kind: str) -> tuple[str, str] | None:
    """(question, answer) of one kind about scene i; None when the scene has no such question with one answer."""
    return ASK[kind](rng, scenes, i, _objects(scenes, i))


def some_questions(
    rng: np.random.Generator, scenes: Scenes, i: int, number: int, weights=None
) -> list[tuple[str, str]]:
    """`number` questions of random kinds (with these weights) about scene i."""
    found: list[tuple[str, str]] = []
    while len(found) < number:
        made = question(rng, scenes, i, KINDS[rng.choice(len(KINDS), p=weights)])
        if made is not None:
            found.append(made)
    return found
