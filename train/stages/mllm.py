"""The language model on questions, captions and requests, over a tower that stays as it is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from spar_engine.modules.layers import as_bias

from .. import data
from ..lab import Lab
from ..text import Packed, packed_mask
from ..world import questions, sample
from ..world.scene import Scenes, render

QUESTIONS = 8  # about one picture
WEIGHTS = np.array([0.7, 1.8, 1.2, 1.5, 2, 3, 0.2, 0.7])  # of questions.KINDS; more where learning is slow
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def answer_logits(lab: Lab, packed: Packed, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [answer tokens, vocabulary] and their targets."""
    embeds = lab.model.embed(packed.ids, features)
    bias = as_bias(packed_mask(packed.branch), embeds.dtype)
    levels, _ = lab.model.model.language_model(embeds, packed.positions, bias)
    wanted = packed.targets >= 0
    return lab.model.lm_head(levels[lab.config.language.depth][wanted]).float(), packed.targets[wanted]


def chats(rng: np.random.Generator, scenes: Scenes, number: int = QUESTIONS) -> list[list[tuple[str, str]]]:
    return [questions.some_questions(rng, scenes, i, number, WEIGHTS) for i in range(len(scenes))]


def request_loss(lab: Lab, rng: np.random.Generator, scenes: Scenes) -> torch.Tensor:
    """Next-token loss of whole requests for pictures: words that the model otherwise only meets as questions."""
    ids, mask = lab.texts.generation(data.prompts(rng, data.asked(rng, scenes)))
    levels = lab.model.levels(lab.model.embed(ids), mask)
    wanted = mask[:, 1:].bool()
    return F.cross_entropy(
        lab.model.lm_head(levels[lab.config.language.depth][:, :-1][wanted]).float(), ids[:, 1:][wanted]
    )


def exact_match(lab: Lab, chats_: list[list[tuple[str, str]]], scenes: Scenes) -> np.ndarray:
    """[pictures, questions] bool: greedy decoding would give exactly the answer."""
    packed = lab.texts.packed(chats_)
    logits, targets = answer_logits(lab, packed, lab.model.features(data.pixel_values(render(scenes))))
    right = torch.ones_like(packed.targets, dtype=torch.bool)
    right[packed.targets >= 0] = logits.argmax(-1) == targets
    return np.array([[bool(right[i][packed.branch[i] == b + 1].all()) for b in range(len(chat))]
                     for i, chat in enumerate(chats_)])  # fmt: skip


def scores(lab: Lab, pictures: int = 40) -> dict[str, float]:
    """Exact match on held-out scenes, over all questions and by kind."""
    rng = np.random.default_rng(2)
    scenes = sample.held_out_scenes(rng, pictures)
    found, every = {}, []
    for kind in questions.KINDS:
        made = [(i, q) for i in range(pictures) if (q := questions.question(rng, scenes, i, kind))]
        right = exact_match(lab, [[q] for _, q in made], scenes.take([i for i, _ in made]))
        found[kind] = float(right.mean())
        if kind != "describe":
            every.append(right.reshape(-1))
    return {"vqa": float(np.concatenate(every).mean())} | found


class Mllm:
    name, rate, batch = "mllm", 1.2e-3, 32
    parts: ClassVar = {"model.language_model.": 1.0, "lm_head.": 1.0}

    def __init__(self, lab: Lab):
        self.lab = lab

    def prepare(self) -> None:
        pass

    def loss(self, rng):
        scenes = sample.training_scenes(rng, self.batch)
        with torch.no_grad():
            features = self.lab.model.features(data.pixel_values(render(scenes)))
        logits, answers = answer_logits(self.lab, self.lab.texts.packed(chats(rng, scenes)), features)
        answer, request = F.cross_entropy(logits, answers), request_loss(self.lab, rng, scenes)
        right = (logits.argmax(-1) == answers).float().mean()
        seen = {"answer": answer.item(), "request": request.item(), "right": right.item()}
        return answer + 0.2 * request, seen, self.batch

    def evaluate(self):
        return scores(self.lab)


class Instruct(Mllm):
    """The same on the tower that the tokenizer stages left."""

    name, rate = "instruct", 5e-4
