"""Text to picture and editing: I condition and DiT from nothing, II with self-alignment, III with edits.

The paper begins with the condition alone, under a pretrained DiT; ours has none, so the DiT learns along."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .. import data, monitor
from ..condition import condition
from ..lab import Lab
from ..pool import Items, Pool
from ..velocity import velocity
from ..world import sample
from ..world.scene import Scenes, render
from .tokenizer import as_latent

ALIGNED_BLOCK = 2  # of the DiT, counted from 0
ALIGNMENT = 0.5  # weight of L_align
READING = 0.1  # weight of reading the request from the condition
NOISY, SPREAD = 1.5, 1.5  # of the logit of the times: what is where, and on what, is decided in the first steps
NOISES = 4  # noise levels of one target: its condition costs as much as several passes through the DiT
CONDITION = {"model.latent_queries": 1.0, "model.dynamic_router.": 1.0, "model.llm_connector.": 1.0,
             "model.projector.": 1.0}  # fmt: skip
DIT = {"model.dit.": 1.0}
READ = {"heads.reading.": 10.0}


def encode(lab: Lab, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(features [n, tokens, hidden], latents [n, channels, rows, columns] in the DiT's scale) of uint8 pictures."""
    with torch.no_grad():
        features = lab.model.features(data.pixel_values(pictures))
        latent = as_latent(lab.model.model.vae_decoder(features)) * lab.latent_scale
    return features.float(), latent.float().contiguous()


def flow_loss(lab: Lab, latent: torch.Tensor, ids, mask, features=None, *, frozen=True, teacher=None, read=None):
    """Flow matching at logit-normal times; with `teacher` features of the target also L_align; `read` is a loss of the
    queries' rows of the condition."""
    caption, seen_mask = condition(lab.model, ids, mask, features, frozen=frozen)
    latent = latent.repeat_interleave(NOISES, 0)
    noise = torch.randn_like(latent)
    step = (torch.sigmoid(NOISY + SPREAD * torch.randn(len(latent))) * 1000).floor().clamp(1, 999)
    sigma = (step / 1000)[:, None, None, None]
    noisy = (1 - sigma) * latent + sigma * noise
    predicted, inner = velocity(lab.model, noisy, step, caption, seen_mask, ALIGNED_BLOCK)
    flow = F.mse_loss(predicted.float(), noise - latent)
    loss, seen = flow, {"flow": flow.item()}
    if read is not None:
        reading = read(caption[:, -lab.config.query_count :])
        loss, seen["read"] = loss + READING * reading, reading.item()
    if teacher is None:
        return loss, seen
    inner, teacher = lab.heads.alignment(inner).float(), teacher.repeat_interleave(NOISES, 0)
    align = 1 - F.cosine_similarity(inner, teacher, dim=-1).mean()
    seen["align"] = align.item()
    return loss + ALIGNMENT * align, seen


def drawings(lab: Lab):
    """Makes pool items of plain scenes."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        scenes = sample.training_scenes(rng, batch)
        features, latent = encode(lab, render(scenes))
        return {"scene": [scenes.take([i]) for i in range(batch)], "features": features, "latent": latent}

    return make


def requests(rng: np.random.Generator, items: Items) -> list[str | None]:
    """A request for each of the `drawings`."""
    return [p for scene in items["scene"] for p in data.prompts(rng, scene)]


def edit_items(lab: Lab):
    """Makes pool items of edits."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        before, after, words = data.edit_pairs(rng, batch)
        features, latent = encode(lab, np.concatenate([render(before), render(after)]))
        return {"words": words, "source": features[:batch], "features": features[batch:], "latent": latent[batch:]}

    return make


class _Unified:
    rate, batch, edits = 1e-3, 32, 0
    parts = CONDITION | DIT | READ
    align = False

    def __init__(self, lab: Lab):
        self.lab = lab
        self.scenes, self.pairs = Pool(drawings(lab)), Pool(edit_items(lab))
        if lab.without == "alignment":
            self.align = False

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        lab, total, logged = self.lab, 0.0, {}
        plain, edited = self.batch - self.edits, self.edits
        if plain:
            items = self.scenes.draw(rng, plain)
            prompts, scenes = requests(rng, items), Scenes.join(items["scene"])
            loss, logged = flow_loss(
                lab, items["latent"], *lab.texts.generation(prompts), teacher=items["features"] if self.align else None,
                read=lambda rows: lab.heads.reading(rows, scenes, prompts),
            )  # fmt: skip
            total = loss * plain / self.batch
        if edited:
            items = self.pairs.draw(rng, edited)
            teacher = items["features"] if self.align else None
            ids, mask = lab.texts.edits(items["words"])
            loss, seen = flow_loss(lab, items["latent"], ids, mask, items["source"], teacher=teacher)
            total = total + loss * edited / self.batch
            logged |= {f"edit_{k}": v for k, v in seen.items()}
        return total, logged, self.batch

    def evaluate(self):
        return monitor.drawing(self.lab) | (monitor.editing_(self.lab) if self.edits else {})


class Unified1(_Unified):
    name = "unified1"

    def prepare(self) -> None:
        """The scale of the latents, and the connector from the last layers of the trained language model."""
        lab = self.lab
        scenes = sample.training_scenes(np.random.default_rng(3), 512)
        _, latent = encode(lab, render(scenes))
        lab.set_latent_scale(round(float(lab.latent_scale / latent.std()), 4))
        backbone = lab.model.model
        last = backbone.language_model.layers[-lab.config.connector_depth :]
        for mine, theirs in zip(backbone.llm_connector.layers, last, strict=True):
            mine.load_state_dict(theirs.state_dict())


class Unified2(_Unified):
    name, align, edits = "unified2", True, 0
    parts = CONDITION | DIT | READ | {"heads.alignment.": 1.0}


class Unified3(_Unified):
    name, align, edits = "unified3", True, 16
    parts = CONDITION | DIT | READ | {"heads.alignment.": 1.0}
