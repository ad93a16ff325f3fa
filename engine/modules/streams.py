"""Visual tokens to the latent: one stream, or a semantic and a pixel stream with fusion (spec 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..config import StreamsConfig
from .layers import join_heads, split_heads
from .tap import tap


def _mlp(width: int, hidden: int, out: int, eps: float) -> nn.Sequential:
    """LayerNorm, Linear, GELU, Linear; slots 0, 1, 3 hold parameters."""
    return nn.Sequential(nn.LayerNorm(width, eps=eps), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


class ResBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mlp = _mlp(width, width, width, 1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(x)


def _blocks(config: StreamsConfig, width: int) -> nn.ModuleList:
    return nn.ModuleList(ResBlock(width) for _ in range(config.blocks))


def _through(blocks: nn.ModuleList, x: torch.Tensor, name: str) -> torch.Tensor:
    for index, block in enumerate(blocks):
        x = tap(f"{name}_{index}", block(x))
    return x


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (split_heads(part, self.heads) for part in mixed.chunk(3, dim=-1))
        return self.out_proj(join_heads(F.scaled_dot_product_attention(query, key, value)))


class PixelLayer(nn.Module):
    """Pre-norm encoder layer, GELU, no positions."""

    def __init__(self, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class PixelTransformer(nn.Module):
    def __init__(self, config: StreamsConfig, width: int):
        super().__init__()
        layers = (PixelLayer(width, config.pixel_heads, config.pixel_mlp_width) for _ in range(config.pixel_depth))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return tap("pixel_features", _through(self.layers, x, "pixel_layer"))


class SingleStream(nn.Module):
    """Visual tokens [batch, tokens, hidden] -> latent tokens [batch, tokens, channels]."""

    def __init__(self, config: StreamsConfig, width: int):
        super().__init__()
        channels = config.latent_channels
        self.down_blocks, self.down_mlp = _blocks(config, width), _mlp(width, channels, channels, 1e-5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return tap("down_mlp", self.down_mlp(_through(self.down_blocks, features, "block")))


class DualStream(nn.Module):
    """Visual tokens [batch, tokens, hidden] -> latent tokens [batch, tokens, channels]."""

    def __init__(self, config: StreamsConfig, width: int):
        super().__init__()
        channels = config.latent_channels
        self.semantic_down_blocks, self.semantic_down_mlp = (
            _blocks(config, width),
            _mlp(width, channels, channels, 1e-5),
        )
        self.pixel_transformer = PixelTransformer(config, width)
        self.pixel_down_blocks, self.pixel_down_mlp = _blocks(config, width), _mlp(width, channels, channels, 1e-5)
        self.fusion_layer = _mlp(2 * channels, 2 * channels, channels, 1e-5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        semantic = self.semantic_down_mlp(_through(self.semantic_down_blocks, features, "semantic_block"))
        pixel = _through(self.pixel_down_blocks, self.pixel_transformer(features), "pixel_block")
        pixel = self.pixel_down_mlp(pixel)
        both = torch.cat((tap("semantic_latent", semantic), tap("pixel_latent", pixel)), dim=-1)
        return tap("fused", self.fusion_layer(both))


def streams(config: StreamsConfig, width: int) -> SingleStream | DualStream:
    """The stream module of a configuration; `width` is the language model's."""
    return (DualStream if config.dual else SingleStream)(config, width)
