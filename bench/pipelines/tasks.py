"""The tasks of the table: what is asked, and what comes back as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from spar_engine.errors import InputError

WORDS = (
    "a",
    "red",
    "boat",
    "on",
    "calm",
    "blue",
    "lake",
    "under",
    "tall",
    "white",
    "clouds",
    "beside",
    "small",
    "green",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row's request.

    steps   sampler steps; images  pictures of one prompt; prompt  characters of prompt or question
    tokens  of the answer
    """

    task: str
    steps: int = 20
    images: int = 1
    prompt: int = 60
    tokens: int = 32

    def __post_init__(self):
        if self.task not in TASKS:
            raise InputError(f"task {self.task!r} is unknown; there are {', '.join(TASKS)}")
        for name in ("steps", "images", "prompt", "tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}={getattr(self, name)} must be at least 1")

    @property
    def name(self) -> str:
        return self.task

    def sizes_asked(self) -> dict[str, int]:
        """The numbers that this task looks at."""
        return {name: value for name, value in asdict(self).items() if name in TASKS[self.task].axes}

    def what(self) -> dict[str, Any]:
        return asdict(self)

    def options(self) -> str:
        return " ".join((f"--task {self.task}", *(f"--{name} {value}" for name, value in self.sizes_asked().items())))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request brings along."""

    words: str
    picture: np.ndarray


@dataclass(frozen=True, slots=True)
class Task:
    """`run(engine, setting, asked, seed)` answers a request that `asked` made; only this is timed."""

    axes: tuple[str, ...]
    components: tuple[str, ...]
    run: Callable[[Any, Setting, Asked, int], Any]
    arrays: Callable[[Any], dict[str, np.ndarray]]


def prompt(length: int, number: int) -> str:
    """Exactly `length` characters; another number, another text from its first word on."""
    text, at = f"{number % 10**6:06d}", number
    while len(text) < length:
        text += f" {WORDS[at % len(WORDS)]}"
        at += 1 + number % 5
    return text[:length]


def picture(number: int, side: int = 448) -> np.ndarray:
    """A smooth colour picture [side, side, 3] uint8 with some edges, another for every number."""
    rng = np.random.default_rng((number, 5))
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(2 * np.pi * (rng.uniform(1, 6) * x + rng.uniform(1, 6) * y + rng.uniform())) for _ in range(3)]
    made = np.stack(waves, -1) * 0.4 + 0.5
    left, top = (rng.uniform(0.1, 0.6, 2) * side).astype(int)
    made[top : top + side // 4, left : left + side // 4] = rng.uniform(0, 1, 3)
    return (made * 255).clip(0, 255).astype(np.uint8)


def asked(setting: Setting, number: int) -> Asked:
    """Another number asks for something else of the same size."""
    return Asked(prompt(setting.prompt, number), picture(number))


def _generate(engine: Any, setting: Setting, asked: Asked, seed: int) -> Any:
    return engine.generate(asked.words, seed=seed, num_inference_steps=setting.steps, num_images=setting.images)


def _edit(engine: Any, setting: Setting, asked: Asked, seed: int) -> Any:
    return engine.edit(asked.picture, asked.words, seed=seed, num_inference_steps=setting.steps)


def _segment(engine: Any, setting: Setting, asked: Asked, seed: int) -> Any:
    return engine.segment(asked.picture, seed=seed, num_inference_steps=setting.steps)


def _reconstruct(engine: Any, setting: Setting, asked: Asked, seed: int) -> Any:
    return engine.reconstruct(asked.picture)


def _ask(engine: Any, setting: Setting, asked: Asked, seed: int) -> Any:
    return engine.ask(asked.picture, asked.words, max_new_tokens=setting.tokens)


def _pixels(pictures: Any) -> dict[str, np.ndarray]:
    return {"pixels": np.stack([each.pixels for each in pictures]).astype(np.float32) / 255}


_DRAWING = ("language", "condition", "context", "modulation", "dit", "decoder")
TASKS = {
    "generate": Task(("steps", "images", "prompt"), _DRAWING, _generate, lambda made: _pixels(made.pictures)),
    "edit": Task(("steps", "prompt"), ("vision", *_DRAWING), _edit, lambda made: _pixels(made.pictures)),
    "segment": Task(("steps",), ("vision", *_DRAWING), _segment, lambda made: _pixels([made.picture])),
    "reconstruct": Task((), ("vision", "streams", "decoder"), _reconstruct, lambda made: _pixels(made.pictures)),
    "ask": Task(("prompt", "tokens"), ("vision", "language", "lm_head"), _ask,
                lambda said: {"ids": np.array(said.token_ids, np.int64)}),
}  # fmt: skip
