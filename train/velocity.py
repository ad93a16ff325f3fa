"""The DiT at several noise levels of one target: what depends on the caption alone is computed once for all of them.

Equal to `Spar.velocity` on repeated captions (a test compares them)."""

from __future__ import annotations

import torch
from spar_engine.modules.model import Spar


def velocity(
    model: Spar, latent: torch.Tensor, timesteps: torch.Tensor, caption: torch.Tensor, mask: torch.Tensor, block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(velocity as `latent`, tokens after block number `block` [pictures, tokens, width]).

    latent     [captions * levels, channels, rows, columns]; the levels of one caption are neighbours
    timesteps  [captions * levels]
    caption    [captions, tokens, caption_width], with its mask [captions, tokens]
    """
    dit = model.model.dit
    bias = ((1 - mask.to(latent.dtype)) * -1e4)[:, None, None]
    context = dit.context(caption)
    modulations, final = dit.modulation(timesteps)
    x = dit.patch_embed(latent)
    for index, (layer, modulation) in enumerate(zip(dit.transformer_blocks, modulations, strict=True)):
        x = layer.self_attention(x, modulation)
        together = x.reshape(len(caption), -1, x.shape[-1])
        x = layer.cross_attention(together, *layer.attn2.context(context), bias).reshape(x.shape)
        x = layer.feed_forward(x, modulation, latent.shape[-2:])
        if index == block:
            inner = x
    return dit.head(x, final, latent.shape[-2:]), inner
