"""A run's folder: tokenizer, configuration, and what every stage has learned so far.

    RUN/tokenizer.json           made first
    RUN/without.json             only where the run leaves an idea out
    RUN/latent_scale.json        after the tokenizer stages
    RUN/<stage>/learned.pt       EMA of the tensors that the stage trains; always complete
    RUN/<stage>/state.pt         everything needed to go on where it stopped
    RUN/<stage>/log.jsonl        one line every few seconds

The model at any moment is the fresh one with every stage's `learned.pt` laid over it, in the order of the stages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from spar_engine.modules.model import Spar

from .config import nano
from .heads import Heads
from .init import initialise
from .text import Texts
from .tokenizer import train_tokenizer
from .world.palette import GRID

SEED = 20261122
ABLATIONS = ("router", "alignment", "pixel-stream", "sgt")
_STREAMS = "semantic_down_blocks semantic_down_mlp pixel_transformer pixel_down_blocks pixel_down_mlp fusion_layer"
DUAL = tuple(f"model.vae_decoder.{part}." for part in _STREAMS.split())
SINGLE = ("model.vae_decoder.down_blocks.", "model.vae_decoder.down_mlp.")


def write_aside(path: Path, save) -> None:
    """Calls `save` with a neighbouring name and renames: a reader never sees half a file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    save(aside)
    os.replace(aside, path)


class Lab:
    """Model, training heads and texts of a run."""

    def __init__(self, run: Path, stages: list[str], without: str | None = None):
        """without  one of ABLATIONS for a new run that leaves an idea out; None for any other, and to go on"""
        self.run, self.stages = run, stages
        run.mkdir(parents=True, exist_ok=True)
        self.without = self._ablation(without)
        words = run / "tokenizer.json"
        if not words.exists():
            write_aside(words, lambda aside: train_tokenizer(aside, seed=SEED))
        self.texts = Texts(words, GRID * GRID)
        scale = run / "latent_scale.json"
        self.latent_scale = json.loads(scale.read_text())["latent_scale"] if scale.exists() else 1.0
        self.config = nano(self.texts.vocabulary, self.texts.image, self.latent_scale, self.without)
        torch.manual_seed(SEED)
        self.model, self.heads = Spar(self.config), Heads(self.config)
        initialise(self.model)

    def _ablation(self, without: str | None) -> str | None:
        note = self.run / "without.json"
        if note.exists():
            known = json.loads(note.read_text())["without"]
            if without not in (None, known):
                raise SystemExit(f"{self.run} was begun without {known}, not without {without}; use another folder")
            return known
        if without is not None and any(path.is_dir() for path in self.run.iterdir()):
            raise SystemExit(f"{self.run} was begun with everything, not without {without}; use another folder")
        if without is not None:
            write_aside(note, lambda aside: aside.write_text(json.dumps({"without": without}) + "\n"))
        return without

    def absent(self) -> tuple[str, ...]:
        """Prefixes of tensors that this model does not have, or does not train."""
        streams = SINGLE if self.config.streams.dual else DUAL
        router = () if self.config.router else ("model.dynamic_router.",)
        return streams + router + (("heads.alignment.",) if self.without == "alignment" else ())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by its name in `learned.pt`: the checkpoint's names, and `heads.` for what is not exported."""
        return self.model.state_dict() | {f"heads.{n}": t for n, t in self.heads.state_dict().items()}

    def load_learned(self, before: str | None = None) -> list[str]:
        """Lays the stages' results over the model, up to but without `before`; returns the stages that had one."""
        tensors, found = self.tensors(), []
        for name in self.stages:
            if name == before:
                break
            path = self.run / name / "learned.pt"
            if path.exists():
                for key, value in torch.load(path, weights_only=True).items():
                    tensors[key].copy_(value)
                found.append(name)
        return found

    def set_latent_scale(self, value: float) -> None:
        write_aside(self.run / "latent_scale.json", lambda p: p.write_text(json.dumps({"latent_scale": value}) + "\n"))
        self.latent_scale = value
