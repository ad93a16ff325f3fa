"""DC-AE pixel decoder, in the literal form (spec 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..config import DecoderConfig
from ..ops.torch_ops import linear_attention, wide
from .layers import GluMbConv, RmsNorm
from .tap import scope, tap

EPS = 1e-5  # of every norm


class ResBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = RmsNorm(channels, EPS, bias=True, dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv2(F.silu(self.conv1(x))))


class Scale(nn.Module):
    """One further scale of the attention: depthwise convolution, then a linear within each group of `head_dim`."""

    def __init__(self, channels: int, groups: int, kernel: int):
        super().__init__()
        self.proj_in = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.proj_out = nn.Conv2d(channels, channels, 1, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj_out(self.proj_in(x))


class MultiscaleAttention(nn.Module):
    """ReLU attention over q, k, v at several scales, with its residual."""

    def __init__(self, channels: int, head_dim: int, scales: tuple[int, ...]):
        super().__init__()
        self.head_dim = head_dim
        for name in ("to_q", "to_k", "to_v"):
            self.add_module(name, nn.Linear(channels, channels, bias=False))
        groups = 3 * channels // head_dim
        self.to_qkv_multiscale = nn.ModuleList(Scale(3 * channels, groups, kernel) for kernel in scales)
        self.to_out = nn.Linear(channels * (1 + len(scales)), channels, bias=False)
        self.norm_out = RmsNorm(channels, EPS, bias=True, dim=1)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Picture -> query, key, value, [batch, heads, pixels, head_dim] each. A head is 3 * head_dim channels."""
        last = x.movedim(1, -1)
        raw = torch.cat((self.to_q(last), self.to_k(last), self.to_v(last)), dim=-1).movedim(-1, 1)
        scales = torch.cat((raw, *(scale(raw) for scale in self.to_qkv_multiscale)), dim=1)
        return scales.flatten(2).unflatten(1, (-1, 3 * self.head_dim)).transpose(-1, -2).chunk(3, dim=-1)

    def core(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """The original normalises over keys, as `quadratic` does, where there are no more pixels than head channels."""
        return (quadratic if query.shape[2] <= self.head_dim else linear_attention)(query, key, value)

    def out(self, mixed: torch.Tensor) -> torch.Tensor:
        return self.to_out(mixed.movedim(1, -1)).movedim(-1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.core(*self.heads(x)).transpose(-1, -2).flatten(1, 2).unflatten(2, x.shape[-2:])
        return tap("attn", x + self.norm_out(self.out(mixed)))


def quadratic(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, eps: float = 1e-15) -> torch.Tensor:
    """ReLU attention by its explicit weights over the keys; equal to the linear form in real numbers."""
    weights = (F.relu(query) @ F.relu(key).transpose(-1, -2)).to(wide(query.dtype))
    return (weights / (weights.sum(-1, keepdim=True) + eps)).to(value.dtype) @ value


class FeedForward(GluMbConv):
    """GLUMBConv of expansion 4, then norm and residual."""

    def __init__(self, channels: int):
        super().__init__(channels, 4 * channels)
        self.norm = RmsNorm(channels, EPS, bias=True, dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(super().forward(x))


class EfficientViTBlock(nn.Module):
    def __init__(self, attention: MultiscaleAttention, channels: int):
        super().__init__()
        self.attn, self.conv_out = attention, FeedForward(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_out(self.attn(x))


class Upsample(nn.Module):
    """Twice the size: nearest, then a convolution, plus the input's channels spread over 2x2 pixels."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.repeats = 4 * out // channels
        self.conv = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = F.pixel_shuffle(x.repeat_interleave(self.repeats, dim=1), 2)
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest")) + shortcut


class ConvIn(nn.Conv2d):
    """Latent to the first stage, plus every latent channel repeated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return tap("conv_in", super().forward(x)) + x.repeat_interleave(self.out_channels // self.in_channels, dim=1)


class Decoder(nn.Module):
    """Latent to picture. `conv_in`, `upsample` and `attention` are the classes of those parts."""

    def __init__(
        self,
        config: DecoderConfig,
        conv_in: type[ConvIn] = ConvIn,
        upsample: type[Upsample] = Upsample,
        attention: type[MultiscaleAttention] = MultiscaleAttention,
    ):
        super().__init__()
        channels, last = config.channels, len(config.channels) - 1

        def block(stage: int) -> nn.Module:
            if not config.attention[stage]:
                return ResBlock(channels[stage])
            inner = attention(channels[stage], config.head_dim, config.scales[stage])
            return EfficientViTBlock(inner, channels[stage])

        def stage(index: int) -> nn.Sequential:
            first = [] if index == last else [upsample(channels[index + 1], channels[index])]
            return nn.Sequential(*first, *(block(index) for _ in range(config.depths[index])))

        self.conv_in = conv_in(config.latent_channels, channels[-1], 3, padding=1)
        self.up_blocks = nn.ModuleList(stage(index) for index in range(last + 1))
        self.norm_out = RmsNorm(channels[0], EPS, bias=True, dim=1)
        self.conv_out = nn.Conv2d(channels[0], 3, 3, padding=1)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] -> picture [batch, 3, upscale * height, upscale * width], about -1 to 1."""
        x = self.conv_in(latent)
        for index in reversed(range(len(self.up_blocks))):
            for number, block in enumerate(self.up_blocks[index]):
                with scope(f"stage_{index}"), scope(f"block_{number}"):
                    x = block(x)
            tap(f"stage_{index}", x)
        return tap("image", self.conv_out(F.relu(self.norm_out(x))))
