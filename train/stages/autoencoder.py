"""Stage 0: a pixel autoencoder. Its decoder becomes the model's; its encoder only teaches the tokenizer (L_p)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from .. import data
from ..lab import Lab
from ..world import sample
from ..world.palette import SIDE
from ..world.scene import render, render_map
from .pixels import picture_loss, psnr, shrunk

NOISE = 0.15  # added to the unit-variance latents, so that nearby latents decode to nearby pictures
MAPS = 0.2  # share of instance maps among the pictures


def pictures(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, object]:
    """Scenes, some of them as their instance map; (uint8 pictures, scenes)."""
    scenes = sample.training_scenes(rng, batch)
    images = render(scenes)
    maps = rng.random(batch) < MAPS
    images[maps] = render_map(scenes.take(maps))
    return images, scenes


class Autoencoder:
    name, rate, batch = "autoencoder", 2e-3, 16
    parts: ClassVar = {"model.vae_decoder.decoder.": 1.0, "heads.pixel_encoder.": 1.0}

    def __init__(self, lab: Lab):
        self.lab = lab
        lab.model.model.vae_decoder.decoder.to(memory_format=torch.channels_last)

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        images, _ = pictures(rng, self.batch)
        target = data.targets(images)
        latent = self.lab.heads.pixel_encoder(data.pixel_values(images))
        noisy = (latent + NOISE * torch.randn_like(latent)).to(memory_format=torch.channels_last)
        made = shrunk(self.lab.model.decode(noisy), SIDE)
        loss = picture_loss(made.float(), target)
        return loss, {"loss": loss.item(), "psnr": psnr(made.detach().float(), target)}, self.batch

    def evaluate(self):
        scenes = sample.held_out_scenes(np.random.default_rng(1), 64)
        images = render(scenes)
        latent = self.lab.heads.pixel_encoder(data.pixel_values(images))
        return {"psnr": psnr(shrunk(self.lab.model.decode(latent), SIDE), data.targets(images))}
