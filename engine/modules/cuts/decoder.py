"""Component `decoder`: shortcuts in kernels, phase convolutions, attention weights sorted by role (E17, E18)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...config import ModelConfig
from ...ops.torch_ops import relu_linear_attention
from ..decoder import ConvIn, Decoder, MultiscaleAttention, Upsample
from ..tap import recording, tap
from .base import Cut, Folding, below_model


def copies(weight: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """1x1 kernel [out, in, 1, 1] like `weight` that makes output channel o a copy of input channel `sources[o]`."""
    inputs = torch.arange(weight.shape[1], device=weight.device)
    return (inputs == sources.unsqueeze(1)).to(weight.dtype)[:, :, None, None]


class FoldedConvIn(ConvIn, Folding):
    """The shortcut is part of the centre tap."""

    def fold(self) -> dict[str, torch.Tensor]:
        repeats = self.out_channels // self.in_channels
        sources = torch.arange(self.out_channels, device=self.weight.device) // repeats
        return {"weight": self.weight + F.pad(copies(self.weight, sources), (1, 1, 1, 1))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if recording():  # the golden tensor is the convolution without its shortcut
            tap("conv_in", F.conv2d(x, self.weight, self.bias, padding=1))
        return F.conv2d(x, self.folded()["weight"], self.bias, padding=1)


def _pairs(kernel: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two taps that a three-tap kernel becomes at even and at odd positions of a doubled picture."""
    first, middle, last = kernel.chunk(3, dim)
    return torch.cat((first, middle + last), dim), torch.cat((first + middle, last), dim)


class PhaseUpsample(Upsample, Folding):
    """Nearest and 3x3 convolution as four 2x2 convolutions of the small picture, one for each pixel of a 2x2 cell; the
    shortcut is part of their kernels."""

    def fold(self) -> dict[str, torch.Tensor]:
        weight, kernels = self.conv.weight, {}
        outputs = torch.arange(weight.shape[0], device=weight.device)
        for a, rows in enumerate(_pairs(weight, 2)):
            for b, kernel in enumerate(_pairs(rows, 3)):
                shortcut = copies(weight, (4 * outputs + 2 * a + b) // self.repeats)
                kernels[f"{a}{b}"] = kernel + F.pad(shortcut, (1 - b, b, 1 - a, a))
        return kernels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phases = []
        for name, kernel in self.folded().items():
            a, b = map(int, name)
            phases.append(F.conv2d(F.pad(x, (1 - b, b, 1 - a, a)), kernel, self.conv.bias))
        return F.pixel_shuffle(torch.stack(phases, dim=2).flatten(1, 2), 2)


class SortedAttention(MultiscaleAttention, Folding):
    """One projection whose channels are all queries, then all keys, then all values; likewise the further scales.

    The core stays linear for every size: the original's form for tiny pictures is the same function.
    """

    core = staticmethod(relu_linear_attention)

    def by_role(self, weight: torch.Tensor) -> torch.Tensor:
        """Rows [heads of query, key, value, ...] -> [queries of all heads, keys, values, ...]."""
        rows = torch.arange(weight.shape[0], device=weight.device)
        return weight.index_select(0, rows.unflatten(0, (-1, 3, self.head_dim)).transpose(0, 1).flatten())

    def fold(self) -> dict[str, torch.Tensor]:
        stacked = torch.cat([part.weight[:, :, None, None] for part in (self.to_q, self.to_k, self.to_v)])
        constants = {"qkv": self.by_role(stacked)}
        for index, scale in enumerate(self.to_qkv_multiscale):
            constants[f"in_{index}"] = self.by_role(scale.proj_in.weight)
            constants[f"out_{index}"] = self.by_role(scale.proj_out.weight)
        return constants

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        constants = self.folded()
        scales = [F.conv2d(x, constants["qkv"])]
        for index, scale in enumerate(self.to_qkv_multiscale):
            kernel, padding = constants[f"in_{index}"], scale.proj_in.padding
            local = F.conv2d(scales[0], kernel, padding=padding, groups=kernel.shape[0])
            scales.append(F.conv2d(local, constants[f"out_{index}"], groups=scale.proj_out.groups))
        by_role = [scale.flatten(2).unflatten(1, (3, -1, self.head_dim)) for scale in scales]
        return torch.cat(by_role, dim=2).transpose(-1, -2).unbind(1)

    def out(self, mixed: torch.Tensor) -> torch.Tensor:
        return F.conv2d(mixed, self.to_out.weight[:, :, None, None])


class DecoderCut(Cut):
    def __init__(self, config: ModelConfig):
        super().__init__()
        parts = Decoder(config.decoder, FoldedConvIn, PhaseUpsample, SortedAttention)
        self.model = below_model(vae_decoder=below_model(decoder=parts))

    def forward(self, latent: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model.vae_decoder.decoder(latent),)
