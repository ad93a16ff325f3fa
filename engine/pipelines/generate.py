"""Text to image and editing: the same sampler under differently built captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..samplers import Sampler
from .call import Pipeline
from .condition import caption
from .denoise import context, decode, denoise
from .parts import Parts
from .vision import visual_tokens


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
    features = None
    if pixel_values is not None:
        features = yield from visual_tokens(parts, pixel_values)
    captions = []
    for prompt in (negative, positive):
        if prompt is not None:
            captions.append((yield from caption(parts, prompt.ids, features, prompt.shared)))
    where = yield from context(parts, captions)
    pictures = []
    for index, noise in enumerate(noises):
        sampler = Sampler.of(parts.config.sampler, num_inference_steps)
        latent = yield from denoise(parts, where, noise, sampler, guidance_scale, index)
        pictures.append((yield from decode(parts, latent / np.float32(parts.config.latent_scale))))
    return pictures
