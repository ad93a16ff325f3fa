"""Semantic Generative Tuning: drawing instance maps, mixed two to one with question answering; old skills rehearsed."""

from __future__ import annotations

import numpy as np

from .. import data, monitor
from ..lab import Lab
from ..pool import Items, Pool
from ..world import edits, sample
from ..world.scene import render, render_map
from .mllm import scores
from .unified import ANSWER, CONDITION, LANGUAGE, agreed, answered, asked, drawings, edit_items, edited_rows, encode

MAPS, PLAIN, EDITED = 24, 16, 16  # samples of a step whose condition agrees with the painter's
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
    """The DiT rests: what it is told of a map, cell by cell, is the generative target of the condition."""

    name, rate = "sgt", 1e-3
    # The tower stays: the tokenizer's latents hang on it.
    parts = CONDITION | LANGUAGE

    def __init__(self, lab: Lab):
        self.lab = lab
        self.maps, self.scenes, self.pairs = Pool(map_items(lab)), Pool(drawings(lab)), Pool(edit_items(lab))

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        lab = self.lab
        items = self.maps.draw(rng, MAPS)
        mapped = agreed(lab, *lab.texts.edits(items["words"]), edited_rows(lab, items), items["source"])
        items = self.pairs.draw(rng, EDITED)
        edited = agreed(
            lab, *lab.texts.edits(items["words"]), edited_rows(lab, items), items["source"], items["changed"]
        )
        requests = asked(rng, self.scenes.draw(rng, PLAIN))
        words = lab.texts.generation(data.prompts(rng, requests))
        plain = agreed(lab, *words, lab.heads.painted.requests(requests))
        answer = answered(lab, rng, ASKED)
        terms = {"map": mapped, "edit": edited, "request": plain, "answer": answer}
        total = MAPS + EDITED + PLAIN
        loss = (mapped * MAPS + edited * EDITED + plain * PLAIN) / total + ANSWER * answer
        return loss, {name: term.item() for name, term in terms.items()}, total + ASKED

    def evaluate(self):
        lab = self.lab
        return monitor.segmentation(lab) | scores(lab) | monitor.drawing(lab, 8) | monitor.editing_(lab, 8)
