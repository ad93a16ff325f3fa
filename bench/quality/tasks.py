"""Held-out requests in GenEval's six categories, and what a picture must show to fulfil one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spar_train.world import holdout
from spar_train.world.palette import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES
from spar_train.world.words import RELATION_WORDS, counted, listed, pick

from .judge import Observation

CATEGORIES = ("single", "two", "counting", "colours", "position", "attribution")
LEADS = ("", "a picture of ", "an image of ", "a photo of ")
LEAST_OFFSET = 8.0  # pixels by which A must be left of, right of, above or below B


@dataclass(frozen=True, slots=True)
class Wanted:
    number: int
    shape: str
    colour: str | None = None
    large: bool | None = None

    def words(self) -> str:
        return counted(self.number, self.colour or "", self.shape)


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and what it asks for."""

    category: str
    prompt: str
    wanted: tuple[Wanted, ...]
    relation: str | None = None  # first wanted, relation, second wanted
    background: str | None = None

    def fulfilled(self, seen: Observation) -> bool:
        """GenEval's rule: everything asked for is there; counting allows no more than asked."""
        if self.background is not None and BACKGROUNDS[seen.background] != self.background:
            return False
        for want in self.wanted:
            have = seen.count(want.shape, want.colour, want.large)
            if have < want.number or (self.category == "counting" and have > want.number):
                return False
        return self.relation is None or self._placed(seen)

    def exact(self, seen: Observation) -> bool:
        """Stricter than GenEval: fulfilled, and nothing else is in the picture."""
        return self.fulfilled(seen) and len(seen.objects) == sum(w.number for w in self.wanted)

    def _placed(self, seen: Observation) -> bool:
        first, second = ([o for o in seen.objects if (o.shape, o.colour) == (w.shape, w.colour)] for w in self.wanted)
        axis, sign = {"left of": ("x", 1), "right of": ("x", -1), "above": ("y", 1), "below": ("y", -1)}[self.relation]
        return any(sign * (getattr(b, axis) - getattr(a, axis)) >= LEAST_OFFSET for a in first for b in second)


def _kind(kind: int) -> tuple[str, str]:
    """(shape, colour) of a kind."""
    return SHAPES[kind // len(COLOURS)], COLOURS[kind % len(COLOURS)]


def _single(rng):
    shape, size, background = pick(rng, np.argwhere(holdout.singles()))
    wanted, name = (Wanted(1, SHAPES[shape], large=bool(size)),), BACKGROUNDS[background]
    return f"a {SIZES[size]} {SHAPES[shape]} on a {name} background", wanted, None, name


def _pair(rng, code: int):
    seen = ~holdout.objects()  # each of the two is known, the pair is new
    a, b = pick(rng, np.argwhere(np.triu(holdout.pairs() == code) & seen & seen[:, None]))
    if rng.random() < 0.5 and code == 0:
        a, b = b, a
    return Wanted(1, *_kind(a)), Wanted(1, *_kind(b))


def _two(rng):
    first, second, background = pick(rng, np.argwhere(holdout.shape_pairs()))
    wanted = Wanted(1, SHAPES[first]), Wanted(1, SHAPES[second])
    name = BACKGROUNDS[background]
    return f"{listed([w.words() for w in wanted])} on a {name} background", wanted, None, name


def _counting(rng):
    number, kind = pick(rng, np.argwhere(holdout.counts() & ~holdout.objects()))
    wanted = (Wanted(int(number), *_kind(kind)),)
    return wanted[0].words(), wanted, None, None


def _colours(rng):
    shape, colour = _kind(int(pick(rng, np.flatnonzero(holdout.objects()))))
    wanted = (Wanted(1, shape, colour),)
    background = pick(rng, (None, *BACKGROUNDS))
    return wanted[0].words() + (f" on a {background} background" if background else ""), wanted, None, background


def _position(rng):
    relation = int(rng.integers(4))
    wanted = _pair(rng, 1 + relation)
    if rng.random() < 0.5:
        wanted, relation = wanted[::-1], relation ^ 1
    name = RELATIONS[relation]
    return f"{wanted[0].words()} {pick(rng, RELATION_WORDS[name])} {wanted[1].words()}", wanted, name, None


def _attribution(rng):
    wanted = _pair(rng, 0)
    return listed([w.words() for w in wanted]), wanted, None, None


MAKE = {"single": _single, "two": _two, "counting": _counting, "colours": _colours, "position": _position,
        "attribution": _attribution}  # fmt: skip


def requests(category: str, number: int, seed: int = 0) -> list[Request]:
    """`number` requests of a category, every one a composition that training never saw."""
    rng = np.random.default_rng([seed, CATEGORIES.index(category)])
    made = []
    for _ in range(number):
        words, wanted, relation, background = MAKE[category](rng)
        made.append(Request(category, pick(rng, LEADS) + words, wanted, relation, background))
    return made
