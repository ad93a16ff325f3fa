"""Tower and projector read what stands in each cell: in place of the pretraining that InternVL brings."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from .. import data
from ..lab import Lab
from ..world import sample
from ..world.scene import render
from .autoencoder import collages

UNNAMED = 0.5  # share of a collage's objects in colours that have no name
PLAIN = 0.25  # share of pictures that are scenes


class Tower:
    name, rate, batch = "tower", 1.5e-3, 32
    parts: ClassVar = {"model.vision_tower.": 1.0, "model.multi_modal_projector.": 1.0, "heads.grounding.": 1.0}

    def __init__(self, lab: Lab):
        self.lab = lab

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        plain = int(np.clip(rng.binomial(self.batch, PLAIN), 1, self.batch - 1))
        images, table = collages(rng, self.batch - plain, UNNAMED)
        scenes = sample.training_scenes(rng, plain)
        images, table = np.concatenate([images, render(scenes)]), torch.cat([table, data.cells(scenes)])
        ground = self.lab.heads.grounding(self.lab.model.features(data.pixel_values(images)), table)
        return ground, {"ground": ground.item()}, self.batch

    def evaluate(self):
        scenes = sample.held_out_scenes(np.random.default_rng(4), 200)
        features = self.lab.model.features(data.pixel_values(render(scenes)))
        return self.lab.heads.grounding.read(features, data.cells(scenes))
