"""The whole model in its plain form: padded batches with masks, as the original runs and as training needs."""

from __future__ import annotations

import torch
from torch import nn

from ..config import ModelConfig
from ..errors import InputError
from .connector import caption
from .decoder import Decoder
from .dit import Dit
from .layers import as_bias
from .qwen2 import Cache, Qwen2
from .router import DynamicRouter
from .streams import streams
from .tap import tap
from .vision import VisionTower, projector, visual_tokens


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Valid tokens before each one, [batch, tokens]; at least 0."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


class Backbone(nn.Module):
    """Every part under the name that it has in a checkpoint, below `model.`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.language.width
        self.vision_tower = VisionTower(config.vision)
        self.multi_modal_projector = projector(config.vision, width)
        self.language_model = Qwen2(config.language, config.language.depth, vocabulary=True)
        self.latent_queries = nn.Parameter(nn.init.normal_(torch.empty(1, config.query_count, width), std=width**-0.5))
        if config.router is not None:
            self.dynamic_router = DynamicRouter(config.router, width)
        self.llm_connector = Qwen2(config.language, config.connector_depth)
        self.projector = nn.Linear(width, config.dit.caption_width)
        self.dit = Dit(config.dit)
        self.vae_decoder = streams(config.streams, width)
        self.vae_decoder.decoder = Decoder(config.decoder)


class Spar(nn.Module):
    """A SPAR or UniLIP model. `state_dict` has the names of a checkpoint."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config.language.width, config.language.vocab_size, bias=False)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pictures [tiles, 3, height, width] -> visual tokens [tiles, tokens, hidden]."""
        return visual_tokens(self.model.vision_tower, self.model.multi_modal_projector, pixels)

    def embed(self, input_ids: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        """Token ids [batch, tokens] -> embeddings; those of the image token become the rows of `features`, in order."""
        embeds = self.model.language_model.embed_tokens(input_ids)
        return embeds if features is None else self.with_features(embeds, input_ids, features)

    def with_features(self, x: torch.Tensor, input_ids: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """x [batch, at least tokens, hidden] with the rows of image tokens replaced by `features`, in order."""
        rows = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        rows[:, : input_ids.shape[1]] = input_ids == self.config.image_token_id
        given, wanted = features.shape[:-1].numel(), int(rows.sum())
        if given != wanted:
            raise InputError(f"prompt: {wanted} image tokens, but features have {given} rows; give one row each")
        return x.masked_scatter(rows.unsqueeze(-1), features.to(x.dtype))

    def with_queries(self, embeds: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings and padding mask [batch, tokens] with the latent queries after them."""
        queries = self.model.latent_queries.expand(embeds.shape[0], -1, -1)
        mask = torch.cat((mask, mask.new_ones(queries.shape[:2])), dim=1)
        return torch.cat((embeds, queries.to(embeds.dtype)), dim=1), mask

    def levels(self, embeds: torch.Tensor, mask: torch.Tensor) -> dict[int, torch.Tensor]:
        """All hidden states of a padded batch: 0 is the embeddings, the last one is normed."""
        tokens = mask.shape[1]
        seen = torch.ones(tokens, tokens, dtype=torch.bool, device=mask.device).tril() & mask.bool()[:, None, None]
        return self.model.language_model(embeds, positions_of(mask), as_bias(seen, embeds.dtype))[0]

    def routed(self, levels: dict[int, torch.Tensor]) -> torch.Tensor:
        """The connector's input [batch, tokens, hidden], before the image rows are overwritten."""
        if self.config.router is None:
            return levels[self.config.language.depth]
        return self.model.dynamic_router(torch.stack([levels[index] for index in self.config.levels]))

    def caption(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Connector input [batch, tokens, hidden] and padding mask -> [batch, tokens, caption_width]."""
        bias = ((1 - mask.to(x.dtype)) * -1e5)[:, None, None].expand(-1, -1, mask.shape[1], -1)
        return caption(self.model.llm_connector, self.model.projector, x, positions_of(mask), bias)

    def condition(
        self, input_ids: torch.Tensor, mask: torch.Tensor, features: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts to the DiT's condition.

        input_ids  [batch, tokens], padded on either side
        mask       [batch, tokens], 1 for valid tokens
        features   visual tokens, in order, for all image tokens of the batch; none: text to image
        returns    caption [batch, tokens + queries, caption_width] and its mask
        """
        embeds, mask = self.with_queries(self.embed(input_ids, features), mask)
        tap("inputs_embeds", embeds)
        return self.connected(self.levels(embeds, mask), input_ids, mask, features), mask

    def connected(
        self, levels: dict[int, torch.Tensor], input_ids: torch.Tensor, mask: torch.Tensor, features=None
    ) -> torch.Tensor:
        """All hidden states of prompts and queries, and the mask of both, to the caption of `condition`."""
        x = self.routed(levels)
        if features is not None:
            x = self.with_features(x, input_ids, features)
        return self.caption(x, mask)

    def logits(self, embeds: torch.Tensor, past: list[Cache] | None = None) -> tuple[torch.Tensor, list[Cache]]:
        """Logits [batch, vocabulary] after the last of the unpadded embeddings, and the grown cache of each layer."""
        before = past[0][0].shape[2] if past else 0
        total = before + embeds.shape[1]
        places = torch.arange(total, device=embeds.device)
        bias = as_bias(places[None] <= places[before:, None], embeds.dtype)[None, None]
        levels, cache = self.model.language_model(embeds, places[None, before:], bias, past)
        return self.lm_head(levels[self.config.language.depth][:, -1]), cache

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pictures [batch, 3, height, width] -> latents [batch, channels, rows, columns], not scaled."""
        cell = 2 * self.config.vision.patch_size
        grid = pixels.shape[-2] // cell, pixels.shape[-1] // cell
        return tap("latents", self.model.vae_decoder(self.features(pixels)).transpose(1, 2).unflatten(2, grid))

    def velocity(self, latent, timesteps, caption, mask=None) -> torch.Tensor:
        """`Dit.forward`."""
        return self.model.dit(latent, timesteps, caption, mask)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as `encode` gives them -> pictures, nominally -1 to 1."""
        return self.model.vae_decoder.decoder(latents)
