"""Modules that only training needs; none of them is exported."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from spar_engine.config import ModelConfig
from torch import nn

from .world.palette import BACKGROUNDS, COLOURS, MOST, SHAPES, SIZES
from .world.scene import Scenes


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.GELU(),
                                  nn.Conv2d(channels, channels, 3, padding=1))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class PixelEncoder(nn.Module):
    """The encoder half of the pixel autoencoder: picture to latents of unit variance in every channel."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        side = config.dit.sample_size
        self.size = side * config.decoder.upscale
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 4, 4), nn.GELU()]
        channels, left = 32, self.size // 4 // side
        while left > 1:
            wider = min(2 * channels, 128)
            layers += [nn.Conv2d(channels, wider, 2, 2), Residual(wider), nn.GELU()]
            channels, left = wider, left // 2
        latent = config.decoder.latent_channels
        self.body = nn.Sequential(*layers, Residual(channels), nn.Conv2d(channels, latent, 1))
        self.norm = nn.BatchNorm2d(latent, affine=False, momentum=0.02)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pictures [batch, 3, height, width] -> [batch, channels, rows, columns]."""
        resized = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return self.norm(self.body(resized).float())


class Grounding(nn.Module):
    """What stands in each cell, read from the visual tokens: what a pretrained tower would bring."""

    def __init__(self, width: int, places: int = 0):
        """places  cells to tell apart: each token then also says where it is"""
        super().__init__()
        self.parts = (1 + len(SHAPES), len(COLOURS), len(SIZES), len(BACKGROUNDS), 2, places)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.parts)))

    def forward(self, features: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Mean loss of features [batch, cells, width] against `data.cells` [batch, cells, 6]."""
        shape, colour, size, background, place, cell = self.head(features).float().split(self.parts, -1)
        here = cells[..., 0] > 0
        named = here & (cells[..., 1] >= 0)

        def classify(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(logits.flatten(0, -2), target.flatten().long())

        loss = classify(shape, cells[..., 0]) + classify(background, cells[..., 3])
        loss = loss + classify(colour[named], cells[..., 1][named]) + classify(size[here], cells[..., 2][here])
        if cell.shape[-1]:
            loss = loss + classify(cell, torch.arange(cell.shape[-1]).expand(cell.shape[:-1]))
        return loss + F.smooth_l1_loss(place[here], cells[..., 4:][here])

    def read(self, features: torch.Tensor, cells: torch.Tensor) -> dict[str, float]:
        """Share of the objects whose shape, colour and cell are read rightly; mean error of their place."""
        shape, colour, _, _, place, cell = self.head(features).float().split(self.parts, -1)
        here = cells[..., 0] > 0
        found = {"shape": shape.argmax(-1) == cells[..., 0], "colour": colour.argmax(-1) == cells[..., 1]}
        if cell.shape[-1]:
            found["cell"] = cell.argmax(-1) == torch.arange(cell.shape[-1])
        scores = {name: float(right[here].float().mean()) for name, right in found.items()}
        return scores | {"place": float((place - cells[..., 4:])[here].abs().mean())}


class Reading(nn.Module):
    """What a request asks for, read from the queries' rows of the condition: the flow alone is slow to bring there what
    only the first steps of sampling need, such as the background."""

    def __init__(self, width: int):
        super().__init__()
        self.parts = (len(BACKGROUNDS), MOST, len(SHAPES))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.parts)))

    def forward(self, rows: torch.Tensor, scenes: Scenes, prompts: list[str | None]) -> torch.Tensor:
        """Mean loss of the rows [batch, queries, width] of requests that these scenes fulfil."""
        background, number, shapes = self.head(rows.mean(1)).float().split(self.parts, -1)
        asked = torch.tensor([p is not None for p in prompts])
        named = torch.tensor([p is not None and BACKGROUNDS[b] in p for p, b in
                              zip(prompts, scenes.background, strict=True)])  # fmt: skip
        loss = background.new_zeros(())
        if named.any():
            loss = loss + F.cross_entropy(background[named], torch.from_numpy(scenes.background)[named])
        if asked.any():
            present = np.zeros((len(scenes), len(SHAPES)), np.float32)
            row, slot = np.nonzero(scenes.present())
            present[row, scenes.shape[row, slot]] = 1
            loss = loss + F.cross_entropy(number[asked], torch.from_numpy(scenes.count - 1)[asked])
            loss = loss + F.binary_cross_entropy_with_logits(shapes[asked], torch.from_numpy(present)[asked])
        return loss


class Alignment(nn.Sequential):
    """From a block of the DiT to the tokenizer's features (the checkpoint name would be `alignment_projector`)."""

    def __init__(self, width: int, features: int, hidden: int = 384):
        super().__init__(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
                         nn.Linear(hidden, features))  # fmt: skip


class Heads(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.pixel_encoder = PixelEncoder(config)
        self.grounding = Grounding(config.language.width, config.dit.sample_size**2)
        self.latent_grounding = Grounding(config.decoder.latent_channels)
        self.reading = Reading(config.dit.caption_width)
        self.alignment = Alignment(config.dit.width, config.language.width)
