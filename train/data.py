"""Batches of the world as tensors."""

from __future__ import annotations

import numpy as np
import torch

from .world import edits, holdout, sample, words
from .world.palette import GRID, JITTER, MOST, STEP
from .world.scene import Scenes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the vision tower's input (spec 1.7)
UNCONDITIONAL = 0.1  # share of prompts without their words, for guidance


def pixel_values(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [batch, side, side, 3] -> normalised [batch, 3, side, side], channels last in memory."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def targets(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [batch, side, side, 3] -> [batch, 3, side, side] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def cells(scenes: Scenes, unnamed: np.ndarray | None = None) -> torch.Tensor:
    """[batch, cells, 6] float: shape + 1 (0 for an empty cell), colour (-1 where `unnamed` [batch, MOST]), size,
    background, x, y of the centre from the cell's middle in units of the largest jitter."""
    colour = scenes.colour if unnamed is None else np.where(unnamed, -1, scenes.colour)
    table = np.zeros((len(scenes), GRID * GRID, 6), np.float32)
    table[..., 3] = scenes.background[:, None]
    for slot in range(MOST):
        i = np.flatnonzero(scenes.count > slot)
        place = scenes.dx[i, slot] * STEP / JITTER - 1, scenes.dy[i, slot] * STEP / JITTER - 1
        values = (scenes.shape[i, slot] + 1, colour[i, slot], scenes.size[i, slot], scenes.background[i], *place)
        table[i, scenes.cell[i, slot]] = np.stack(values, -1)
    return torch.from_numpy(table)


def polished(rng: np.random.Generator, text: str) -> str:
    """The same request as people type it: sometimes with a capital, sometimes with a full stop."""
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.15 else text


def asked(rng: np.random.Generator, scenes: Scenes) -> list[words.Asked | None]:
    """One request for every scene; None where guidance's other branch is trained."""
    return [None if rng.random() < UNCONDITIONAL else words.ask(rng, scenes, i) for i in range(len(scenes))]


def prompts(rng: np.random.Generator, requests: list[words.Asked | None]) -> list[str | None]:
    """The requests in words."""
    return [None if request is None else polished(rng, request.words(rng)) for request in requests]


def edit_pairs(rng: np.random.Generator, batch: int) -> tuple[Scenes, Scenes, list[str | None]]:
    """(before, after, instruction): training scenes on both sides, equal where there is no instruction."""
    befores, afters, words_, have = [], [], [], 0
    while have < batch:
        before = sample.training_scenes(rng, 2 * (batch - have) + 8)
        after, texts = edits.edit(rng, before, rng.choice(edits.KINDS, len(before)))
        good = np.flatnonzero(np.array([t is not None for t in texts]) & ~holdout.held_out(after))
        befores.append(before.take(good))
        afters.append(after.take(good))
        words_ += [texts[i] for i in good]
        have += len(good)
    unsaid = rng.random(batch) < UNCONDITIONAL
    both = Scenes.join(befores + afters)
    source = np.arange(batch)
    target = np.where(unsaid, source, have + source)
    return both.take(source), both.take(target), [None if u else w for u, w in zip(unsaid, words_, strict=False)]
