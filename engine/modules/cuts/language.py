"""Components `language`, `lm_head` and `condition`."""

from __future__ import annotations

import torch
from torch import nn

from ...config import ModelConfig
from ...ops.torch_ops import dynamic_token_routing
from ..connector import caption
from ..layers import as_bias
from ..qwen2 import Qwen2
from ..router import DynamicRouter
from ..tap import recording, tap
from .base import Cut, below_model


class LanguageCut(Cut):
    """Unpadded causal tokens after a cache; the last layer computes only the wanted rows (E6, E8, E12, E23)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.levels = config.levels
        self.model = below_model(language_model=Qwen2(config.language, config.language.depth))

    def forward(self, inputs_embeds, past_keys, past_values, rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        past, tokens = past_keys.shape[3], inputs_embeds.shape[1]
        places = torch.arange(past + tokens, device=rows.device)
        positions = places[past:]
        levels, grown = self._layers(
            inputs_embeds, past_keys, past_values, rows, positions, places <= positions.unsqueeze(1)
        )
        keys, values = zip(*grown, strict=True)
        return levels, torch.stack(keys), torch.stack(values)

    def roomy(
        self, inputs_embeds, past_keys, past_values, rows, length
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same after a cache with room to spare: `length` [1] of it is filled. Keys and values of the new tokens
        only. Tokens may follow the real ones: no token sees a later one."""
        room, tokens = past_keys.shape[3], inputs_embeds.shape[1]
        places = torch.arange(room + tokens, device=rows.device)
        new = places[:tokens].unsqueeze(1)
        seen = (places < length) | ((places >= room) & (places - room <= new))
        levels, grown = self._layers(inputs_embeds, past_keys, past_values, rows, places[:tokens] + length, seen)
        keys, values = ([cache[which][:, :, room:] for cache in grown] for which in (0, 1))
        return levels, torch.stack(keys), torch.stack(values)

    def _layers(self, x, past_keys, past_values, rows, positions, seen: torch.Tensor):
        """The wanted levels, stacked, and the grown cache of each layer; `seen` [tokens, past + tokens] is the mask."""
        levels, grown = self.model.language_model(
            x, positions.unsqueeze(0), as_bias(seen, x.dtype)[None, None],
            past=list(zip(past_keys, past_values, strict=True)), rows=rows, wanted=self.levels,
        )  # fmt: skip
        return torch.stack([levels[level] for level in self.levels]), grown


class LmHeadCut(Cut):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.lm_head = nn.Linear(config.language.width, config.language.vocab_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor]:
        return (tap("logits", self.lm_head(hidden_states)),)


class ConditionCut(Cut):
    """Routing of the language rows only; image rows come from the visual tokens and are never routed (E6, E12)."""

    route = staticmethod(dynamic_token_routing)

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.language.width
        parts = {} if config.router is None else {"dynamic_router": DynamicRouter(config.router, width)}
        connector, project = Qwen2(config.language, config.connector_depth), nn.Linear(width, config.dit.caption_width)
        self.model = below_model(**parts, llm_connector=connector, projector=project)
        self.routing = config.router is not None

    def routed(self, levels: torch.Tensor) -> torch.Tensor:
        """[levels, batch, rows, hidden] -> [batch, rows, hidden]."""
        if not self.routing:
            return levels[0]
        router = self.model.dynamic_router
        routed = self.route(levels.flatten(1, 2), *router.arguments()).unflatten(0, levels.shape[1:3])
        if recording():  # the operator shows nothing of its inside
            router(levels)
        return tap("dtr.out", routed)

    def forward(self, hidden_levels, image_features, order) -> tuple[torch.Tensor]:
        return (self._connected(hidden_levels, image_features, order, None),)

    def roomy(self, hidden_levels, image_features, order, length) -> tuple[torch.Tensor]:
        """The caption where only the first `length` [1] places of `order` are real; the others are not looked at."""
        tokens = len(order)
        seen = (torch.arange(tokens, device=order.device) < length).expand(tokens, tokens)
        return (self._connected(hidden_levels, image_features, order, as_bias(seen, hidden_levels.dtype)[None, None]),)

    def _connected(self, hidden_levels, image_features, order, bias: torch.Tensor | None) -> torch.Tensor:
        x = torch.cat((self.routed(hidden_levels), image_features), dim=1).index_select(1, order)
        positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        return caption(self.model.llm_connector, self.model.projector, x, positions, bias)
