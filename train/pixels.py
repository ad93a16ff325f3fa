"""Losses and scores of pictures that a decoder made."""

from __future__ import annotations

import torch
import torch.nn.functional as F

OBJECT_WEIGHT = 4.0  # extra weight of pixels that are not background


def shrunk(image: torch.Tensor, side: int) -> torch.Tensor:
    """The decoder's picture at the size of the world's, as the engine resizes it (28/32, bilinear)."""
    return F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)


def picture_loss(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """image, target [batch, 3, side, side] in [-1, 1]; the corner pixel of the target is background."""
    apart = (target - target[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.05
    error = image - target
    return ((error.abs() + 2 * error.square()) * (1 + OBJECT_WEIGHT * apart)).mean()


def psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over pictures, dB, of pictures in [-1, 1]."""
    error = (image.clamp(-1, 1) - target).square().flatten(1).mean(1) / 4
    return float((-10 * error.clamp(min=1e-8).log10()).mean())
