"""Text to picture and editing: I the condition under a DiT at rest, II both with self-alignment, III with edits."""

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
from ..world.scene import render
from .mllm import answer_logits, chats, scores
from .tokenizer import as_latent

ALIGNED_BLOCK = 2  # of the DiT, counted from 0
ALIGNMENT = 0.5  # weight of L_align
CHANGED = 8  # weight of a cell that an edit changes, which are few beside those that it leaves
REST = 0.1  # weight of the rows that say nothing in agreeing with the painter's conditions
NOISY, SPREAD = 1.5, 1.5  # of the logit of the times: what is where, and on what, is decided in the first steps
AGREE = 0.3  # weight of agreeing with the painter's cells where the DiT learns along
NOISES = 4  # noise levels of one target: its condition costs as much as several passes through the DiT
CONDITION = {"model.latent_queries": 1.0, "model.dynamic_router.": 1.0, "model.llm_connector.": 1.0,
             "model.projector.": 1.0}  # fmt: skip
DIT = {"model.dit.": 1.0}
LANGUAGE = {"model.language_model.": 0.3, "lm_head.": 0.3}
ASKED, ANSWER = 8, 0.1  # pictures of a step that are asked about where the language model learns along; weight of that
MEANT = 0.05  # weight of reading off what an edit means for each cell
MATCHED_LEVEL = -2  # of the language model, where the picture's own rows say it; at the last level the queries do


def encode(lab: Lab, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(features [n, tokens, hidden], latents [n, channels, rows, columns] in the DiT's scale) of uint8 pictures."""
    with torch.no_grad():
        features = lab.model.features(data.pixel_values(pictures))
        latent = as_latent(lab.model.model.vae_decoder(features)) * lab.latent_scale
    return features.float(), latent.float().contiguous()


def flow_loss(
    lab: Lab, latent: torch.Tensor, caption: torch.Tensor, mask: torch.Tensor, block: int = ALIGNED_BLOCK
) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss of flow matching at logit-normal times, the DiT's tokens after `block` at each of the NOISES levels)."""
    latent = latent.repeat_interleave(NOISES, 0)
    noise = torch.randn_like(latent)
    step = (torch.sigmoid(NOISY + SPREAD * torch.randn(len(latent))) * 1000).floor().clamp(1, 999)
    sigma = (step / 1000)[:, None, None, None]
    noisy = (1 - sigma) * latent + sigma * noise
    predicted, inner = velocity(lab.model, noisy, step, caption, mask, block)
    return F.mse_loss(predicted.float(), noise - latent), inner


def agreement(
    lab: Lab, caption: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor, ids: torch.Tensor, changed=None
) -> torch.Tensor:
    """How far a condition is from `rows` of the painter [batch, slots, width] and, elsewhere, from nothing.

    The rows belong where the prompt `ids` [batch, tokens] has image tokens: there each cell of the source already is.
    Where it has none they belong to the queries. `changed` [batch, slots] bool are rows that count CHANGED times."""
    told = torch.zeros_like(mask, dtype=torch.bool)
    told[:, : ids.shape[1]] = ids == lab.config.image_token_id
    if not told.any():
        told[:, ids.shape[1] :] = True
    rest = caption[mask.bool() & ~told].float()
    nothing = lab.heads.painted.nothing().detach().expand_as(rest)
    errors = (caption[told].float() - rows.detach().flatten(0, 1)).square().mean(-1)
    weights = torch.ones_like(errors) if changed is None else 1 + (CHANGED - 1) * changed.flatten().float()
    return (weights * errors).sum() / weights.sum() + REST * F.mse_loss(rest, nothing)


def agreed(lab: Lab, ids, mask, rows, features=None, changed=None) -> torch.Tensor:
    """`agreement` of the condition of prompts, while the language model learns along."""
    caption, mask = condition(lab.model, ids, mask, features, frozen=False)
    return agreement(lab, caption, mask, rows, ids, changed)


def drawings(lab: Lab):
    """Makes pool items of plain scenes."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        scenes = sample.training_scenes(rng, batch, sample.REQUESTED)
        features, latent = encode(lab, render(scenes))
        return {"scene": [scenes.take([i]) for i in range(batch)], "features": features, "latent": latent}

    return make


def asked(rng: np.random.Generator, items: Items) -> list:
    """A request for each of the `drawings`."""
    return [request for scene in items["scene"] for request in data.asked(rng, scene)]


def edit_items(lab: Lab):
    """Makes pool items of edits."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        before, after, words = data.edit_pairs(rng, batch)
        features, latent = encode(lab, np.concatenate([render(before), render(after)]))
        cells = data.cells(after)
        changed = (data.cells(before) != cells).any(-1)
        return {"words": words, "source": features[:batch], "features": features[batch:], "latent": latent[batch:],
                "after": cells, "changed": changed}  # fmt: skip

    return make


class _Unified:
    rate, batch, edits = 1e-3, 32, 0
    parts = CONDITION

    def __init__(self, lab: Lab):
        self.lab = lab
        self.scenes, self.pairs = Pool(drawings(lab)), Pool(edit_items(lab))

    def prepare(self) -> None:
        pass

    def drawn(self, rng, items, requests) -> tuple[torch.Tensor, dict[str, float]]:
        """(loss, what to log) of requests and their pictures."""
        raise NotImplementedError

    def edited(self, items) -> tuple[torch.Tensor, dict[str, float]]:
        raise NotImplementedError

    def ids(self, rng, requests) -> tuple[torch.Tensor, torch.Tensor]:
        return self.lab.texts.generation(data.prompts(rng, requests))

    def loss(self, rng):
        total, logged = 0.0, {}
        if plain := self.batch - self.edits:
            items = self.scenes.draw(rng, plain)
            loss, logged = self.drawn(rng, items, asked(rng, items))
            total = loss * plain / self.batch
        if self.edits:
            loss, seen = self.edited(self.pairs.draw(rng, self.edits))
            total = total + loss * self.edits / self.batch
            logged |= {f"edit_{k}": v for k, v in seen.items()}
        return total, logged, self.batch

    def evaluate(self):
        return monitor.drawing(self.lab) | (monitor.editing_(self.lab) if self.edits else {})


def edited_rows(lab: Lab, items: Items) -> torch.Tensor:
    """The painter's rows for pictures cell by cell; where no words say what to draw, those for anything: guidance away
    from a definite picture would overshoot."""
    painted = lab.heads.painted
    unsaid = torch.tensor([words is None for words in items["words"]])[:, None, None]
    return torch.where(unsaid, painted.requests([None]), painted.pictures(items["latent"]))


def meant(lab: Lab, levels: dict[int, torch.Tensor], ids: torch.Tensor, items: Items) -> torch.Tensor:
    """Loss of reading what stands in each cell after an edit, from the language model's hidden states.

    The instruction stands before the picture: the row of a cell can find that it is meant. The rows of the connector
    that belong to the picture are those of the plain picture, so the queries, one for each cell, have to carry it."""
    lm, where = lab.config.language, ids == lab.config.image_token_id
    shape = *items["changed"].shape, lm.width
    rows = levels[lm.depth + MATCHED_LEVEL][:, : ids.shape[1]][where].view(shape), levels[lm.depth][:, ids.shape[1] :]
    loss, after, changed = 0.0, items["after"], items["changed"]
    for head, row in zip(lab.heads.meant, rows, strict=True):
        loss = loss + head(row, after) + head(row[changed][None], after[changed][None])
    return loss


def answered(lab: Lab, rng: np.random.Generator, pictures: int = ASKED) -> torch.Tensor:
    """Loss of answers about fresh training scenes."""
    scenes = sample.training_scenes(rng, pictures)
    features, _ = encode(lab, render(scenes))
    return F.cross_entropy(*answer_logits(lab, lab.texts.packed(chats(rng, scenes)), features))


class Unified1(_Unified):
    """The condition learns what the painter's DiT was given, from words. The language model, which has never met an
    instruction, learns along."""

    name, rate, batch, edits = "unified1", 2e-3, 64, 40
    parts = CONDITION | LANGUAGE | {"heads.meant.": 1.0}

    def prepare(self) -> None:
        """The connector from the last layers of the trained language model."""
        backbone = self.lab.model.model
        last = backbone.language_model.layers[-self.lab.config.connector_depth :]
        for mine, theirs in zip(backbone.llm_connector.layers, last, strict=True):
            mine.load_state_dict(theirs.state_dict())

    def drawn(self, rng, items, requests):
        loss = agreed(self.lab, *self.ids(rng, requests), self.lab.heads.painted.requests(requests))
        return loss, {"agree": loss.item()}

    def edited(self, items):
        model, (ids, mask) = self.lab.model, self.lab.texts.edits(items["words"])
        embeds, both = model.with_queries(model.embed(ids, items["source"]), mask)
        levels = model.levels(embeds, both)
        caption = model.connected(levels, ids, both, items["source"])
        agree = agreement(self.lab, caption, both, edited_rows(self.lab, items), ids, items["changed"])
        read = meant(self.lab, levels, ids, items)
        return agree + MEANT * read, {"agree": agree.item(), "meant": read.item()}

    def loss(self, rng):
        loss, logged, samples = super().loss(rng)
        answer = answered(self.lab, rng)
        return loss + ANSWER * answer, logged | {"answer": answer.item()}, samples + ASKED

    def evaluate(self):
        return super().evaluate() | scores(self.lab)


class Unified2(_Unified):
    """Both together, by flow matching and self-alignment."""

    name, rate = "unified2", 4e-4
    parts = CONDITION | DIT | {"heads.alignment.": 1.0}

    def _flow(self, items, caption, mask):
        lab = self.lab
        flow, inner = flow_loss(lab, items["latent"], caption, mask)
        if lab.without == "alignment":
            return flow, {"flow": flow.item()}
        teacher = items["features"].repeat_interleave(NOISES, 0)
        align = 1 - F.cosine_similarity(lab.heads.alignment(inner).float(), teacher, dim=-1).mean()
        return flow + ALIGNMENT * align, {"flow": flow.item(), "align": align.item()}

    def drawn(self, rng, items, requests):
        return self._flow(items, *condition(self.lab.model, *self.ids(rng, requests)))

    def edited(self, items):
        return self._flow(items, *condition(self.lab.model, *self.lab.texts.edits(items["words"]), items["source"]))


class Unified3(Unified2):
    """And edits, whose conditions go on agreeing with the painter's: copying and changing cells is learned there."""

    name, edits = "unified3", 16

    def edited(self, items):
        lab = self.lab
        ids, mask = lab.texts.edits(items["words"])
        caption, mask = condition(lab.model, ids, mask, items["source"])
        loss, seen = self._flow(items, caption, mask)
        agree = agreement(lab, caption, mask, edited_rows(lab, items), ids, items["changed"])
        return loss + AGREE * agree, seen | {"agree": agree.item()}
