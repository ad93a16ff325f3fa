"""SANA linear diffusion transformer, in the literal form (spec 4)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..config import DiTConfig
from ..ops.torch_ops import linear_attention, wide
from .layers import GluMbConv, RmsNorm, join_heads, split_heads
from .tap import scope, tap


def axis_table(size: int, base: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines of one axis of the position table, [size, width]; the axis always spans `base` units.

    The published SANA code halves the coordinates of bases from 128 on, thirds from 192 on, and so forth.
    """
    exact, half = wide(like.dtype), width // 2
    scale = base / max(base // 64, 1)
    places = torch.arange(size, dtype=torch.int64, device=like.device).to(exact) * (scale / size)
    angles = places[:, None] * 10000.0 ** (torch.arange(half, dtype=torch.int64, device=like.device).to(exact) / -half)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def position_table(rows: int, columns: int, base: int, like: torch.Tensor) -> torch.Tensor:
    """Fixed position table of a grid, [1, rows * columns, width of `like`]: columns first, then rows (spec 4.2)."""
    half = like.shape[-1] // 2
    across = axis_table(columns, base, half, like).unsqueeze(0).expand(rows, -1, -1)
    down = axis_table(rows, base, half, like).unsqueeze(1).expand(-1, columns, -1)
    return tap("pos_embed", torch.cat((across, down), dim=-1).flatten(0, 1).unsqueeze(0))


class PatchEmbed(nn.Module):
    def __init__(self, config: DiTConfig):
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, config.width, 1)
        self.base = config.sample_size if config.position == "sincos" else None

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """[batch, channels, rows, columns] -> tokens [batch, rows * columns, width]."""
        x = self.proj(latent).flatten(2).transpose(1, 2)
        if self.base is not None:
            x = (x + position_table(*latent.shape[-2:], self.base, x)).to(x.dtype)
        return tap("patch_embed", x)


class TimestepEmbedder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(256, width), nn.Linear(width, width)

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        dtype = self.linear_1.weight.dtype
        exact = wide(dtype)
        exponents = torch.arange(128, dtype=torch.int64, device=timesteps.device).to(exact) / 128
        angles = timesteps.to(exact)[:, None] * torch.exp(-math.log(10000) * exponents)
        waves = torch.cat((angles.cos(), angles.sin()), dim=-1).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class TimeEmbed(nn.Module):
    """Timesteps [batch] -> embedding [batch, width] and modulation [batch, 6 * width]."""

    def __init__(self, width: int):
        super().__init__()
        self.emb = nn.ModuleDict({"timestep_embedder": TimestepEmbedder(width)})
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedded = tap("time.embedded", self.emb["timestep_embedder"](timesteps))
        return embedded, tap("time.modulation", self.linear(F.silu(embedded)))


class CaptionProjection(nn.Module):
    def __init__(self, caption_width: int, width: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(caption_width, width), nn.Linear(width, width)

    def forward(self, caption: torch.Tensor) -> torch.Tensor:
        return tap("caption.projected", self.linear_2(F.gelu(self.linear_1(caption), approximate="tanh")))


class LinearAttention(nn.Module):
    core = staticmethod(linear_attention)

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.heads = config.heads
        for name in ("to_q", "to_k", "to_v"):
            self.add_module(name, nn.Linear(config.width, config.width, bias=False))
        self.to_out = nn.ModuleList([nn.Linear(config.width, config.width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (split_heads(project(x), self.heads) for project in (self.to_q, self.to_k, self.to_v))
        return tap("attn1", self.to_out[0](join_heads(self.core(query, key, value))))


class CrossAttention(nn.Module):
    def __init__(self, config: DiTConfig):
        super().__init__()
        self.heads = config.cross_heads
        for name in ("to_q", "to_k", "to_v"):
            self.add_module(name, nn.Linear(config.width, config.width))
        self.to_out = nn.ModuleList([nn.Linear(config.width, config.width)])

    def context(self, caption: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a context [batch, tokens, width], [batch, heads, tokens, head_dim] each."""
        return split_heads(self.to_k(caption), self.heads), split_heads(self.to_v(caption), self.heads)

    def out(self, mixed: torch.Tensor) -> torch.Tensor:
        return self.to_out[0](mixed)

    def forward(self, x, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        query = split_heads(self.to_q(x), self.heads)
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        return tap("attn2", self.out(join_heads(mixed)))


def table(rows: int, width: int) -> nn.Parameter:
    """Learned shifts, scales and gates, [rows, width]."""
    return nn.Parameter(nn.init.normal_(torch.empty(rows, width), std=width**-0.5))


def modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """LayerNorm without weights, then scale and shift [batch, 1, width]."""
    return F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale) + shift


class Block(nn.Module):
    """Linear self-attention, cross-attention, convolutional feed-forward; `modulation` is [batch, 6, width] in all."""

    def __init__(self, config: DiTConfig, linear: type[LinearAttention], cross: type[CrossAttention]):
        super().__init__()
        self.eps = config.eps
        self.scale_shift_table = table(6, config.width)
        self.attn1, self.attn2 = linear(config), cross(config)
        self.ff = GluMbConv(config.width, config.mlp_width)

    def self_attention(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = modulation[:, :3].unsqueeze(2).unbind(1)
        return x + gate * self.attn1(modulated(x, shift, scale, self.eps))

    def cross_attention(self, x, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return x + self.attn2(x, keys, values, bias)

    def feed_forward(self, x: torch.Tensor, modulation: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        shift, scale, gate = modulation[:, 3:].unsqueeze(2).unbind(1)
        picture = modulated(x, shift, scale, self.eps).transpose(1, 2).unflatten(2, grid)
        return x + gate * tap("ff", self.ff(picture)).flatten(2).transpose(1, 2)


class Dit(nn.Module):
    """Predicts the flow velocity of a noisy latent. `linear` and `cross` are the attention classes of the blocks."""

    def __init__(
        self,
        config: DiTConfig,
        linear: type[LinearAttention] = LinearAttention,
        cross: type[CrossAttention] = CrossAttention,
    ):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.time_embed = TimeEmbed(config.width)
        self.caption_projection = CaptionProjection(config.caption_width, config.width)
        self.caption_norm = RmsNorm(config.width, 1e-5)
        self.transformer_blocks = nn.ModuleList(Block(config, linear, cross) for _ in range(config.depth))
        self.scale_shift_table = table(2, config.width)
        self.proj_out = nn.Linear(config.width, config.out_channels)

    def context(self, caption: torch.Tensor) -> torch.Tensor:
        """Caption [batch, tokens, caption_width] -> what the blocks attend to, [batch, tokens, width]."""
        return tap("caption.normed", self.caption_norm(self.caption_projection(caption)))

    def modulation(self, timesteps: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Timesteps [batch] -> [batch, 6, width] of every block and [batch, 2, width] of the head."""
        embedded, shared = self.time_embed(timesteps)
        shared = shared.unflatten(1, (6, -1))
        final = self.scale_shift_table + embedded.unsqueeze(1)
        return [block.scale_shift_table + shared for block in self.transformer_blocks], final

    def head(self, x: torch.Tensor, final: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Tokens [batch, tokens, width] -> velocity [batch, channels, rows, columns]."""
        shift, scale = final.unsqueeze(2).unbind(1)
        normed = tap("norm_out", F.layer_norm(x, x.shape[-1:], eps=self.config.eps))
        return tap("out", self.proj_out(normed * (1 + scale) + shift).transpose(1, 2).unflatten(2, grid))

    def forward(
        self, latent: torch.Tensor, timesteps: torch.Tensor, caption: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Velocity [batch, channels, rows, columns].

        latent     [batch, channels, rows, columns]
        timesteps  [batch], 0 to 1000
        caption    [batch, tokens, caption_width]
        mask       [batch, tokens], 1 for valid tokens; none: all are
        """
        grid = latent.shape[-2:]
        bias = None if mask is None else ((1 - mask.to(latent.dtype)) * -1e4)[:, None, None]
        context = self.context(caption)
        modulations, final = self.modulation(timesteps)
        x = self.patch_embed(latent)
        for index, (block, modulation) in enumerate(zip(self.transformer_blocks, modulations, strict=True)):
            with scope(f"block_{index}"):
                x = block.self_attention(x, modulation)
                x = block.cross_attention(x, *block.attn2.context(context), bias)
                x = block.feed_forward(x, modulation, grid)
            tap(f"block_{index}", x)
        return self.head(x, final, grid)
