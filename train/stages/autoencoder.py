"""Stage 0: a pixel autoencoder. Its decoder becomes the model's; its encoder only teaches the tokenizer (L_p)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from .. import data, monitor
from ..lab import Lab
from ..pixels import picture_loss, psnr, shrunk
from ..repaint import repaint
from ..world import sample
from ..world.palette import CELL, GRID, SIDE
from ..world.scene import Scenes, render, render_map

NOISE = 0.1  # added to the unit-variance latents, so that nearby latents decode to nearby pictures
MAPS = 0.15  # share of instance maps among the pictures
COLLAGES = 0.7  # share of pictures whose cells come from several scenes
LAYERS = 5  # scenes in a collage
UNNAMED = 0.3  # share of a collage's objects in colours that have no name
GROUNDED = 0.1  # weight of reading every cell's object from its latent


def collages(rng: np.random.Generator, batch: int, unnamed: float = 0.0) -> tuple[np.ndarray, torch.Tensor]:
    """Crowded pictures, about ten objects each, and their `data.cells`: most of a scene is background, and learning to
    draw edges needs objects. No words go with them, and they hold allowed objects only.

    unnamed  share of objects in colours that have no name"""
    below = sample.training_scenes(rng, batch)
    images, table = _painted(rng, below, unnamed)
    for _ in range(LAYERS - 1):
        above = sample.training_scenes(rng, batch)
        above.background = below.background
        layer, added = _painted(rng, above, unnamed)
        new = (table[..., 0] == 0) & (added[..., 0] > 0)
        table[new] = added[new]
        grid = images.reshape(batch, GRID, CELL, GRID, CELL, 3).swapaxes(2, 3)
        layer = layer.reshape(batch, GRID, CELL, GRID, CELL, 3).swapaxes(2, 3)
        where = new.numpy().reshape(batch, GRID, GRID)
        grid[where] = layer[where]
    return images, table


def _painted(rng: np.random.Generator, scenes: Scenes, unnamed: float) -> tuple[np.ndarray, torch.Tensor]:
    if not unnamed:
        return render(scenes), data.cells(scenes)
    paint, without_name = repaint(rng, scenes, unnamed)
    return render(scenes, paint), data.cells(scenes, without_name)


def pictures(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """uint8 pictures, their `data.cells`, and which of them the cells describe: instance maps are not."""
    crowded = int(rng.binomial(batch, COLLAGES))
    scenes = sample.training_scenes(rng, batch - crowded) if crowded < batch else None
    parts = [collages(rng, crowded, UNNAMED)] if crowded else []
    if scenes is not None:
        images = render(scenes)
        maps = rng.random(len(scenes)) < MAPS / (1 - COLLAGES)
        if maps.any():
            images[maps] = render_map(scenes.take(maps))
        parts.append((images, data.cells(scenes)))
    described = np.ones(batch, bool)
    if scenes is not None:
        described[crowded:] = ~maps
    images, tables = zip(*parts, strict=True)
    return np.concatenate(images), torch.cat(tables), described


class Autoencoder:
    name, rate, batch = "autoencoder", 2e-3, 16
    parts: ClassVar = {"model.vae_decoder.decoder.": 1.0, "heads.pixel_encoder.": 1.0, "heads.latent_grounding.": 1.0}

    def __init__(self, lab: Lab):
        self.lab = lab
        lab.model.model.vae_decoder.decoder.to(memory_format=torch.channels_last)

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        images, table, described = pictures(rng, self.batch)
        target = data.targets(images)
        latent = self.lab.heads.pixel_encoder(data.pixel_values(images))
        noisy = (latent + NOISE * torch.randn_like(latent)).to(memory_format=torch.channels_last)
        made = shrunk(self.lab.model.decode(noisy), SIDE).float()
        picture = picture_loss(made, target)
        seen = {"picture": picture.item(), "psnr": psnr(made.detach(), target)}
        if not described.any():
            return picture, seen, self.batch
        ground = self.lab.heads.latent_grounding(noisy[described].flatten(2).transpose(1, 2), table[described])
        return picture + GROUNDED * ground, seen | {"ground": ground.item()}, self.batch

    def evaluate(self):
        scenes = sample.held_out_scenes(np.random.default_rng(1), 48)
        images = render(scenes)
        latent = self.lab.heads.pixel_encoder(data.pixel_values(images))
        return monitor.decoded(self.lab, latent, scenes, images)
