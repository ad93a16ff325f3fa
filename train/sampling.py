"""Pictures from the model that is being trained, many at once: the engine's sampler over the plain modules."""

from __future__ import annotations

import numpy as np
import torch
from spar_engine.image.postprocess import pictures
from spar_engine.samplers import DEFAULT_SCALE, Sampler, guide, noise

from .condition import condition
from .lab import Lab


@torch.no_grad()
def draw(
    lab: Lab, prompts, *, features=None, seed: int = 0, steps: int = 20, scale: float = DEFAULT_SCALE
) -> np.ndarray:
    """uint8 [batch, side, side, 3].

    prompts   requests, or instructions where there are `features`
    features  visual tokens of the source pictures, [batch, tokens, hidden]
    """
    texts = lab.texts.generation if features is None else lab.texts.edits
    conditions = [condition(lab.model, *texts(list(words)), features) for words in ([None] * len(prompts), prompts)]
    side = lab.config.dit.sample_size
    latent = noise(seed, (lab.config.dit.in_channels, side, side), len(prompts))
    sampler = Sampler.of(lab.config.sampler, steps)
    for index, timestep in enumerate(sampler.timesteps):
        x, t = torch.from_numpy(latent), torch.full((len(latent),), float(timestep))
        branches = [lab.model.velocity(x, t, caption, mask).float().numpy() for caption, mask in conditions]
        latent = sampler.step(index, latent, guide(np.concatenate(branches), scale))
    decoded = lab.model.decode(torch.from_numpy(latent / np.float32(lab.latent_scale)))
    return pictures(decoded.float().numpy())
