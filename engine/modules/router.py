"""Dynamic Token Routing: every token mixes levels of the language model with its own weights (spec 2)."""

from __future__ import annotations

import torch
from torch import nn

from ..config import RouterConfig
from ..ops.torch_ops import route_tokens
from .tap import tap


class DynamicRouter(nn.Module):
    def __init__(self, config: RouterConfig, width: int):
        super().__init__()
        self.temperature = config.temperature
        self.router = nn.Sequential(nn.Linear(width, width // 2), nn.SiLU(), nn.Linear(width // 2, config.picks))
        self.layer_scales = nn.Parameter(torch.ones(config.picks))
        self.out_norm = nn.LayerNorm(width, eps=1e-5)
        self.proj = nn.Linear(width, width)

    def arguments(self) -> tuple:
        """Everything but the levels, in the order of the operator."""
        first, _, second = self.router
        norm, proj = self.out_norm, self.proj
        return (first.weight, first.bias, second.weight, second.bias, self.layer_scales, norm.weight, norm.bias,
                proj.weight, proj.bias, self.temperature)  # fmt: skip

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Levels [picks, batch, tokens, width], the last one normed -> routed [batch, tokens, width]."""
        inner = route_tokens(levels.flatten(1, 2), *self.arguments())
        for name, value in zip(("logits", "weights", "fused", "out"), inner, strict=True):
            routed = tap(f"dtr.{name}", value.unflatten(0, levels.shape[1:3]))
        return routed
