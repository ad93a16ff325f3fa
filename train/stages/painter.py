"""The DiT alone, in the place of SANA's pretraining: it paints what a throw-away encoder tells it, from requests in
slots and from pictures cell by cell. It so learns to paint before anything has to understand words."""

from __future__ import annotations

import numpy as np
import torch

from .. import data, monitor
from ..lab import Lab
from ..pool import Items, Pool
from ..world import sample
from ..world.scene import Scenes, render, render_map
from .unified import DIT, NOISES, asked, drawings, encode, flow_loss

REQUESTS, SCENES, MAPS = 24, 4, 4  # of a batch, by what tells the DiT
UNUSED = 64  # most rows that say nothing: words will stand there
BLUR = 0.15  # deviation of the noise on latents that are told cell by cell: later conditions will be inexact
INEXACT = 0.1  # deviation of the noise on all rows, which are of unit variance: words will only come near to them
SEEN_BLOCK, SEEN = 4, 0.2  # block after which what will stand in each cell must be readable, and the weight of that


def map_latents(lab: Lab):
    """Makes pool items of instance maps."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        return {"latent": encode(lab, render_map(sample.training_scenes(rng, batch)))[1]}

    return make


class Painter:
    name, rate, batch = "painter", 1.5e-3, REQUESTS + SCENES + MAPS
    parts = DIT | {"heads.painted.": 1.0, "heads.seen.": 1.0}

    def __init__(self, lab: Lab):
        self.lab = lab
        self.scenes, self.maps = Pool(drawings(lab)), Pool(map_latents(lab))

    def prepare(self) -> None:
        """The scale of the latents."""
        lab = self.lab
        scenes = sample.training_scenes(np.random.default_rng(3), 512)
        _, latent = encode(lab, render(scenes))
        lab.set_latent_scale(round(float(lab.latent_scale / latent.std()), 4))

    def loss(self, rng):
        scenes = self.scenes.draw(rng, REQUESTS + SCENES)
        latent = torch.cat([scenes["latent"], self.maps.draw(rng, MAPS)["latent"]])
        painted = self.lab.heads.painted
        told = latent[REQUESTS:] + BLUR * torch.randn_like(latent[REQUESTS:])
        requests = asked(rng, scenes)[:REQUESTS]
        rows = torch.cat([painted.requests(requests), painted.pictures(told)])
        unused = painted.nothing().expand(len(rows), int(rng.integers(UNUSED + 1)), -1)
        caption = torch.cat([unused, rows], dim=1)
        caption = caption + INEXACT * torch.randn_like(caption)
        flow, inner = flow_loss(self.lab, latent, caption, torch.ones(caption.shape[:2], dtype=torch.int64), SEEN_BLOCK)
        known = data.cells(Scenes.join(scenes["scene"])).repeat_interleave(NOISES, 0)
        seen = self.lab.heads.seen(inner[: len(known)], known)
        return flow + SEEN * seen, {"flow": flow.item(), "seen": seen.item()}, self.batch

    def evaluate(self):
        return monitor.painting(self.lab)
