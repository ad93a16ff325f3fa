"""Semantic Generative Tuning: drawing instance maps, mixed two to one with question answering; old skills rehearsed."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F

from .. import data, monitor
from ..condition import condition
from ..lab import Lab
from ..pool import Items, Pool
from ..world import edits, sample
from ..world.scene import render, render_map
from .mllm import answer_logits, chats, scores
from .unified import AGREE, CONDITION, DIT, agreement, asked, drawings, edit_items, encode, flow_loss

MAPS, PLAIN, EDITED = 16, 8, 8  # samples of a step that end in a picture
ASKED = MAPS // 2  # pictures that are asked about


def map_items(lab: Lab):
    """Makes pool items of scenes and their instance maps."""

    def make(rng: np.random.Generator, batch: int) -> Items:
        scenes = sample.training_scenes(rng, batch)
        features, latent = encode(lab, np.concatenate([render(scenes), render_map(scenes)]))
        words = [None if rng.random() < data.UNCONDITIONAL else edits.MAP_INSTRUCTIONS[0] if rng.random() < 0.5
                 else str(rng.choice(edits.MAP_INSTRUCTIONS)) for _ in range(batch)]  # fmt: skip
        return {"words": words, "source": features[:batch], "latent": latent[batch:]}

    return make


class Sgt:
    name, rate = "sgt", 4e-4
    # The tower stays: the tokenizer's latents hang on it.
    parts = CONDITION | DIT | {"model.language_model.": 0.3, "lm_head.": 0.3}

    def __init__(self, lab: Lab):
        self.lab = lab
        self.maps, self.scenes, self.pairs = Pool(map_items(lab)), Pool(drawings(lab)), Pool(edit_items(lab))

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        lab, batch = self.lab, MAPS + PLAIN + EDITED
        items = self.maps.draw(rng, MAPS)
        ids, mask = lab.texts.edits(items["words"])
        caption, mask = condition(lab.model, ids, mask, items["source"], frozen=False)
        mapped, _ = flow_loss(lab, items["latent"], caption, mask)
        agree = agreement(lab, caption, mask, lab.heads.painted.pictures(items["latent"]), ids)
        items = self.pairs.draw(rng, EDITED)
        words = condition(lab.model, *lab.texts.edits(items["words"]), items["source"], frozen=False)
        edited, _ = flow_loss(lab, items["latent"], *words)
        items = self.scenes.draw(rng, PLAIN)
        requests = asked(rng, items)
        words = condition(lab.model, *lab.texts.generation(data.prompts(rng, requests)), frozen=False)
        plain, _ = flow_loss(lab, items["latent"], *words)
        scenes = sample.training_scenes(rng, ASKED)
        features, _ = encode(lab, render(scenes))
        answer = F.cross_entropy(*answer_logits(lab, lab.texts.packed(chats(rng, scenes)), features))
        loss = (mapped * MAPS + edited * EDITED + plain * PLAIN) / batch + AGREE * agree + 0.3 * answer
        logged = {
            "map": mapped.item(),
            "agree": agree.item(),
            "edit": edited.item(),
            "flow": plain.item(),
            "answer": answer.item(),
        }
        return loss, logged, batch + ASKED

    def evaluate(self):
        lab = self.lab
        return monitor.segmentation(lab) | scores(lab) | monitor.drawing(lab, 8) | monitor.editing_(lab, 8)
