"""Text to image and editing: the same sampler under differently built captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..samplers import Sampler
from .call import Pipeline
from .condition import caption, caption_key
from .denoise import Context, context, draw
from .parts import Parts
from .vision import look


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids of one guidance branch."""

    ids: np.ndarray  # [n] int64, ending with the opening image token
    shared: np.ndarray | None = None  # leading ids that other prompts of this kind have too


def image_from(
    parts: Parts,
    positive: Prompt,
    negative: Prompt | None,
    noises: list[np.ndarray],
    num_inference_steps: int,
    guidance_scale: float,
    pixel_values: np.ndarray | None = None,
) -> Pipeline[list[np.ndarray]]:
    """Pictures [1, 3, H, W] in [-1, 1], one for every noise, all under one condition (E11).

    positive, negative  prompts of the two guidance branches; without a negative one guidance is off (E22)
    noises              starting latents [1, channels, height, width] float32
    pixel_values        the normalised source picture of an edit, [1, 3, side, side]; both branches see it (E5)
    """
    where = yield from _condition(parts, [prompt for prompt in (negative, positive) if prompt], pixel_values)
    pictures = []
    for index, noise in enumerate(noises):
        sampler = Sampler.of(parts.config.sampler, num_inference_steps)
        pictures.append((yield from draw(parts, where, noise, sampler, guidance_scale, index)))
    return pictures


def _condition(parts: Parts, prompts: list[Prompt], pixel_values: np.ndarray | None) -> Pipeline[Context]:
    seen = None
    if pixel_values is not None:
        seen = yield from look(parts, pixel_values)
    key = () if seen is None else seen.key
    keys = [caption_key(prompt.ids, key, prompt.shared) for prompt in prompts]
    found = parts.contexts.get(tuple(keys))
    if found is None:
        captions = []
        for prompt, name in zip(prompts, keys, strict=True):
            features = None if seen is None else seen.features
            captions.append((yield from caption(parts, prompt.ids, features, prompt.shared, name)))
        found = yield from context(parts, captions, tuple(keys))
    return found
