"""Checked options of a request, and the pipelines they become. Nothing heavy runs here; bad input ends here."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import ModelConfig
from .errors import InputError
from .samplers import branches, check_latents, check_scale, check_seed, check_steps, fresh_seed, noise

MOST_IMAGES = 64
MOST_TILES = 12
MOST_PRIORITY = 10

Cancel = Callable[[], bool] | threading.Event | None


def whole(name: str, value: Any, least: int, most: int) -> int:
    """`value` as int; InputError unless it is a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InputError(f"{name}={value!r} is not a whole number from {least} to {most}")
    return int(value)


def share(name: str, value: Any, *, zero: bool) -> float:
    """`value` as float; InputError unless it lies in 0..1, or above 0 where `zero` is False."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not (0 <= value <= 1) or (value == 0 and not zero):
        raise InputError(f"{name}={value!r} is not a number {'from 0' if zero else 'above 0, up'} to 1")
    return float(value)


def latent_shape(size: Any, config: ModelConfig) -> tuple[int, int]:
    """Rows and columns of the latent of a picture of `size` pixels: (height, width), one side, or None for the model's.

    The DiT's position table is defined for any grid (spec 4.2), so sides from half to twice the training size are
    drawn; only the training size was trained. InputError for others, and for what is no multiple of a latent cell."""
    trained, cell = config.dit.sample_size, config.decoder.upscale
    if size is None:
        return trained, trained
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise InputError(f"size={size!r} is neither one side nor (height, width)")
    least, most = max(1, trained // 2) * cell, 2 * trained * cell
    for side in sides:
        whole("size", side, least, most)
        if side % cell:
            below = side // cell * cell
            raise InputError(f"size={size!r}: {side} is not a multiple of {cell}; use {below} or {below + cell}")
    return int(sides[0]) // cell, int(sides[1]) // cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How pictures are drawn: checked on construction, except `latents`, which need the model's shape."""

    seed: int | None = None  # None is replaced by a fresh one
    num_inference_steps: int = 20
    guidance_scale: float
    num_images: int = 1
    latents: np.ndarray | None = field(default=None, repr=False)
    size: int | tuple[int, int] | None = None  # rows and columns of the picture, or one side

    def __post_init__(self):
        given = fresh_seed() if self.seed is None else check_seed(self.seed)
        object.__setattr__(self, "seed", given)
        object.__setattr__(self, "num_inference_steps", check_steps(self.num_inference_steps))
        object.__setattr__(self, "guidance_scale", check_scale(self.guidance_scale))
        object.__setattr__(self, "num_images", whole("num_images", self.num_images, 1, MOST_IMAGES))

    @property
    def guided(self) -> bool:
        """Whether an unconditional branch is needed at all (E22)."""
        return branches(self.guidance_scale) == 2

    def noises(self, config: ModelConfig) -> list[np.ndarray]:
        """Starting latents, one [1, channels, h, w] for every picture."""
        shape = (config.dit.in_channels, *latent_shape(self.size, config))
        if self.latents is None:
            made = noise(self.seed, shape, self.num_images)
        else:
            made = check_latents(self.latents, (self.num_images, *shape))
        return [row[None] for row in made]

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """What a saved picture remembers."""
        more: dict[str, Any] = {}
        if self.size is not None:
            latent, trained = latent_shape(self.size, config), (config.dit.sample_size,) * 2
            more = {"size": [side * config.decoder.upscale for side in latent]}
            more |= {"outside_training_size": True} if latent != trained else {}
        start = {"seed": self.seed} if self.latents is None else {"latents": "given by the caller"}
        return start | {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale} | more


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a request runs beside others."""

    priority: int = 0  # -10 .. 10
    begin: float = 0.0  # time.monotonic() when the request was made
    deadline: float | None = None  # time.monotonic() at which it is given up
    cancelled: Callable[[], bool] | None = None

    @classmethod
    def of(cls, priority: Any, deadline: Any, cancel: Cancel) -> Terms:
        """Checked terms; `deadline` is in seconds from now."""
        begin = time.monotonic()
        if deadline is not None:
            number = isinstance(deadline, (int, float, np.number)) and not isinstance(deadline, bool)
            if not number or not 0 < deadline < math.inf:
                raise InputError(f"deadline={deadline!r} is not a number of seconds above 0")
            deadline = begin + float(deadline)
        if cancel is not None and not callable(cancel):
            if not hasattr(cancel, "is_set"):
                raise InputError(f"cancel={cancel!r} is neither a function nor a threading.Event")
            cancel = cancel.is_set
        return cls(whole("priority", priority, -MOST_PRIORITY, MOST_PRIORITY), begin, deadline, cancel)


def one_each(name: str, given: str | Sequence[str] | None, count: int) -> list[str | None]:
    """`given` for every prompt: None and a single text serve all, a list must have one entry for each."""
    if given is None or isinstance(given, str):
        return [given] * count
    if len(given) != count:
        raise InputError(f"{name} has {len(given)} entries for {count} prompts; give one, or one for each")
    return list(given)
