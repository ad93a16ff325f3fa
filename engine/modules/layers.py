"""Layers that several parts share: norms, attention, the convolutional feed-forward, rotary positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..ops.torch_ops import wide


class RmsNorm(nn.Module):
    """x / rms(x) * weight (+ bias) over one dimension; the mean square is taken in at least float32.

    dim  -1 for tokens, 1 for pictures [batch, width, height, width]
    """

    def __init__(self, width: int, eps: float, *, bias: bool = False, dim: int = -1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.eps, self.dim = eps, dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wider = x.to(wide(x.dtype))
        normed = (wider * torch.rsqrt(wider.square().mean(self.dim, keepdim=True) + self.eps)).to(x.dtype)
        shape = (-1,) if self.dim == -1 else (-1, 1, 1)
        scaled = normed * self.weight.view(shape)
        return scaled if self.bias is None else scaled + self.bias.view(shape)


class GluMbConv(nn.Module):
    """Gated convolutional feed-forward: 1x1 up, SiLU, depthwise 3x3, a * SiLU(g), 1x1 down (spec 3.4, 4.5)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.conv_inverted = nn.Conv2d(width, 2 * hidden, 1)
        self.conv_depth = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.conv_point = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.conv_depth(F.silu(self.conv_inverted(x))).chunk(2, dim=1)
        return self.conv_point(value * F.silu(gate))


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, tokens, heads * head_dim] -> [batch, heads, tokens, head_dim]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: torch.Tensor) -> torch.Tensor:
    """[batch, heads, tokens, head_dim] -> [batch, tokens, heads * head_dim]."""
    return x.transpose(1, 2).flatten(2)


def as_bias(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """True -> 0, False -> the least number of `dtype`: an additive mask under which softmax gives exactly 0."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def rotary(
    positions: torch.Tensor, head_dim: int, theta: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of RoPE.

    positions  [..., tokens], whole numbers
    returns    two of [..., tokens, head_dim / 2], computed in at least float32
    """
    exact = wide(dtype)
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64, device=positions.device).to(exact) / head_dim
    angles = positions.to(exact).unsqueeze(-1) * (1.0 / theta**exponents)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (i, i + head_dim / 2) of x [batch, heads, tokens, head_dim] by the angles of `rotary`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
