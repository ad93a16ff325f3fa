"""Held-out edits: was the instruction carried out, and did everything else stay?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from spar_train.world import edits, holdout, sample
from spar_train.world.palette import CELL, COLOURS, GRID, SHAPES, SIDE
from spar_train.world.scene import Scenes, render
from spar_train.world.words import quadrant

from .judge import Found, Observation

TOLERANCE = 8.0  # pixels between an object and where it belongs; cells are 28 apart


@dataclass(frozen=True, slots=True)
class Edit:
    """One source scene, the scene that the instruction asks for, and the instruction."""

    kind: str
    instruction: str
    before: Scenes
    after: Scenes

    def picture(self) -> np.ndarray:
        """[side, side, 3] uint8, the source."""
        return render(self.before)[0]

    def done(self, seen: Observation) -> bool:
        """Everything is where it belongs, nothing else is there. A place that was not named is free."""
        after = self.after
        if seen.background != after.background[0] or len(seen.objects) != after.count[0]:
            return False
        centres, left = after.centres()[0], list(seen.objects)
        for slot in range(after.count[0]):
            free = self._is_new(slot) and self.kind == "add"
            fits = [o for o in left if self._same(o, slot, size=not free)
                    and (self._inside(o, slot) if free else _near(centres[slot], o))]  # fmt: skip
            if not fits:
                return False
            left.remove(fits[0])
        return True

    def kept(self, seen: Observation, drawn: np.ndarray) -> float | None:
        """PSNR in dB over the part that the edit does not touch, [side, side, 3] uint8; None where there is none."""
        mask = np.ones((GRID, CELL, GRID, CELL), bool)
        if self.kind == "background":
            mask[:] = (render(self.before) == render(self.after)).all(-1)[0].reshape(mask.shape)
        for scenes, other in ((self.before, self.after), (self.after, self.before)):
            for slot in range(scenes.count[0]):
                if not _has(other, scenes, slot):
                    mask[scenes.row()[0, slot], :, scenes.column()[0, slot]] = False
        if self.kind == "add":  # it may have been put elsewhere
            for o in seen.objects:
                if not any(
                    np.hypot(*(c - (o.x, o.y))) <= TOLERANCE for c in self.before.centres()[0, : self.before.count[0]]
                ):
                    rows, columns = (slice(max(int(v) - CELL // 2, 0), int(v) + CELL // 2 + 1) for v in (o.y, o.x))
                    mask.reshape(SIDE, SIDE)[rows, columns] = False
        mask = mask.reshape(SIDE, SIDE)
        if mask.sum() < 64:
            return None
        error = (drawn[mask].astype(np.float64) - render(self.after)[0][mask]) / 255
        return float(-10 * np.log10(max((error**2).mean(), 1e-8)))

    def _is_new(self, slot: int) -> bool:
        return not _has(self.before, self.after, slot)

    def _same(self, o: Found, slot: int, *, size: bool) -> bool:
        s = self.after
        return (o.shape, o.colour) == (SHAPES[s.shape[0, slot]], COLOURS[s.colour[0, slot]]) and (
            not size or o.large == bool(s.size[0, slot])
        )

    def _inside(self, o: Found, slot: int) -> bool:
        where = quadrant(self.after.cell[0, slot])
        cell = int(np.clip(o.y // CELL, 0, GRID - 1)) * GRID + int(np.clip(o.x // CELL, 0, GRID - 1))
        return where not in self.instruction or quadrant(cell) == where


def _near(centre: np.ndarray, o: Found) -> bool:
    return bool(np.hypot(*(centre - (o.x, o.y))) <= TOLERANCE)


def _has(scenes: Scenes, other: Scenes, slot: int) -> bool:
    """Does `scenes` hold exactly the object in this slot of `other`?"""
    names = ("shape", "colour", "size", "cell", "dx", "dy")
    return any(
        all(getattr(scenes, n)[0, s] == getattr(other, n)[0, slot] for n in names) for s in range(scenes.count[0])
    )


def held_out_edits(kind: str, number: int, seed: int = 0) -> list[Edit]:
    """`number` edits whose result holds a composition that training never saw."""
    rng = np.random.default_rng([seed, 100 + edits.KINDS.index(kind)])
    made: list[Edit] = []
    while len(made) < number:
        before = sample.propose(rng, 64)
        after, words = edits.edit(rng, before, [kind] * len(before))
        for i in np.flatnonzero(holdout.held_out(after)):
            if words[i] is not None and len(made) < number:
                made.append(Edit(kind, words[i], before.take([i]), after.take([i])))
    return made
