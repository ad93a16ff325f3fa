"""Pictures from the model that is being trained, many at once: the engine's sampler over the plain modules."""

from __future__ import annotations

import numpy as np
import torch
from spar_engine.image.postprocess import pictures
from spar_engine.samplers import Sampler, guide, noise

from .condition import condition
from .lab import Lab


@torch.no_grad()
def draw(lab: Lab, prompts, *, features=None, **options) -> np.ndarray:
    """uint8 [batch, side, side, 3]; `options` are those of `paint`.

    prompts   requests, or instructions where there are `features`
    features  visual tokens of the source pictures, [batch, tokens, hidden]
    """
    texts = lab.texts.generation if features is None else lab.texts.edits
    without, with_ = (condition(lab.model, *texts(list(w)), features) for w in ([None] * len(prompts), prompts))
    return paint(lab, without, with_, **options)


@torch.no_grad()
def paint(lab: Lab, without, with_, *, seed: int = 0, steps: int = 20, scale: float | None = None) -> np.ndarray:
    """uint8 [batch, side, side, 3] from the (caption, mask) of guidance's two branches."""
    side = lab.config.dit.sample_size
    latent = noise(seed, (lab.config.dit.in_channels, side, side), len(with_[0]))
    sampler = Sampler.of(lab.config.sampler, steps)
    for index, timestep in enumerate(sampler.timesteps):
        x, t = torch.from_numpy(latent), torch.full((len(latent),), float(timestep))
        branches = [lab.model.velocity(x, t, *branch).float().numpy() for branch in (without, with_)]
        latent = sampler.step(
            index, latent, guide(np.concatenate(branches), lab.config.guidance_scale if scale is None else scale)
        )
    decoded = lab.model.decode(torch.from_numpy(latent / np.float32(lab.latent_scale)))
    return pictures(decoded.float().numpy())
