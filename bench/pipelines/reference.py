"""What a request gives on plain torch in float32, kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from spar_engine.config.serial import to_dict
from spar_engine.weights.digest import cache_directory

from ..harness.subject import Arrays, BenchError, OutputError
from .tasks import TASKS, Setting, asked

RECIPE = 1  # raise when requests change meaning
# Share of the difference between two requests' pictures by which a picture may differ from that of plain torch. Errors
# grow along the sampler, most of all with random weights, so this only tells whether it is the picture that was asked
# for; how exact a backend is, its components say.
LARGEST = {"fp32": 0.02, "bf16": 0.3, "fp16": 0.3, "int8": 0.6, "int4": 0.8}


def engine_over(weights: Any, backend: Any) -> Any:
    """The public engine over any backend."""
    from spar_engine.api import Engine
    from spar_engine.runtime.assemble import host_parts, open_tokenizer
    from spar_engine.text import Prompts

    about = {"source": weights.config.name, "backend": backend.name, "reason": "asked for",
             "precision": backend.precision, "dit_position": weights.config.dit.position, "ignored": [],
             "random": weights.directory is None}  # fmt: skip
    return Engine(weights.config, backend, host_parts(weights), Prompts(open_tokenizer(weights), weights.config), about)


def prepare(source: str, random: bool, setting: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    """Make the reference unless it is there; returns its `path`. Runs in a worker of its own."""
    from spar_engine.backends.torch import TorchBackend
    from spar_engine.runtime.assemble import open_weights

    weights, chosen = open_weights(source, random_weights=random), Setting(**setting)
    content = [RECIPE, to_dict(weights.config), weights.sha256(), chosen.task, chosen.sizes_asked(), seeds]
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_directory() / "bench" / "references" / f"{weights.config.name}-{chosen.task}-{name}.npz"
    if not path.exists():
        engine = engine_over(weights, TorchBackend(weights, threads=len(os.sched_getaffinity(0))))
        task = TASKS[chosen.task]
        answers = {seed: task.run(engine, chosen, asked(chosen, seed), seed) for seed in seeds}
        found = {f"{seed}/{key}": value for seed in seeds for key, value in task.arrays(answers[seed]).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(aside, **found)
        os.replace(aside, path)
    return {"path": str(path)}


class PictureOracle:
    """Pictures against those of plain torch in float32, measured by how much the pictures of two requests differ."""

    def __init__(self, path: str | Path, precision: str):
        with np.load(path) as held:
            self.held = {name: held[name] for name in held.files}
        self.largest = LARGEST[precision]
        first, second = (value.astype(np.float64) for name, value in sorted(self.held.items()))
        self.apart = float(np.sqrt(((first - second) ** 2).mean()))
        self.tolerance = f"{self.largest:g} of what two requests' pictures differ by, on plain torch fp32"

    def inputs(self, seed: int) -> Arrays:
        return {}  # text and pictures; what they lead to is compared below

    def expected(self, seed: int) -> Arrays:
        return {"pixels": self.held[f"{seed}/pixels"]}

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        want = self.expected(seed)["pixels"].astype(np.float64)
        if outputs["pixels"].shape != want.shape:
            raise BenchError(f"pictures are {outputs['pixels'].shape}, expected {want.shape}")
        error = outputs["pixels"].astype(np.float64) - want
        rms = float(np.sqrt((error**2).mean()))
        relative, share = rms / float(np.sqrt((want**2).mean())), rms / max(self.apart, 1e-9) / self.largest
        decibel = -20 * np.log10(max(rms, 1e-6))
        return {"pixels": OutputError(float(np.abs(error).max()), relative, share, f"{decibel:.1f} dB")}


class AnswerOracle:
    """Answers in float32 against those of plain torch, token by token."""

    tolerance = "the same tokens as plain torch fp32"

    def __init__(self, path: str | Path):
        with np.load(path) as held:
            self.held = {name: held[name] for name in held.files}

    def inputs(self, seed: int) -> Arrays:
        return {}

    def expected(self, seed: int) -> Arrays:
        return {"ids": self.held[f"{seed}/ids"]}

    def errors(self, outputs: Arrays, seed: int) -> dict[str, OutputError]:
        want, got = self.expected(seed)["ids"], outputs["ids"]
        same = want.shape == got.shape and bool((want == got).all())
        wrong = 0 if same else sum(a != b for a, b in zip(want, got, strict=False)) + abs(len(want) - len(got))
        return {"ids": OutputError(float(wrong), wrong / max(1, len(want)), 0.0 if same else 1.0 + wrong)}


def oracle_of(task: str, path: str, precision: str) -> Any:
    """None where nothing can be said: an answer in a low precision may rightly differ."""
    if task == "ask":
        return AnswerOracle(path) if precision == "fp32" else None
    return PictureOracle(path, precision)
