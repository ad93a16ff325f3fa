"""Modules that only training needs; none of them is exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from spar_engine.config import ModelConfig
from torch import nn

from .slots import CELL, FIELDS, NOTHING, table
from .world.palette import BACKGROUNDS, COLOURS, SHAPES, SIZES
from .world.words import Asked


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
            total = F.cross_entropy(logits.flatten(0, -2), target.flatten().long(), reduction="sum")
            return total / max(target.numel(), 1)

        loss = classify(shape, cells[..., 0]) + classify(background, cells[..., 3])
        loss = loss + classify(shape[here], cells[..., 0][here])  # most cells are empty: objects count once more
        loss = loss + classify(colour[named], cells[..., 1][named]) + classify(size[here], cells[..., 2][here])
        if cell.shape[-1]:
            loss = loss + classify(cell, torch.arange(cell.shape[-1]).expand(cell.shape[:-1]))
        return loss + F.smooth_l1_loss(place[here], cells[..., 4:][here], reduction="sum") / max(int(2 * here.sum()), 1)

    def read(self, features: torch.Tensor, cells: torch.Tensor) -> dict[str, float]:
        """Share of the objects whose shape, colour and cell are read rightly; mean error of their place."""
        shape, colour, _, _, place, cell = self.head(features).float().split(self.parts, -1)
        here = cells[..., 0] > 0
        found = {"shape": shape.argmax(-1) == cells[..., 0], "colour": colour.argmax(-1) == cells[..., 1]}
        if cell.shape[-1]:
            found["cell"] = cell.argmax(-1) == torch.arange(cell.shape[-1])
        scores = {name: float(right[here].float().mean()) for name, right in found.items()}
        return scores | {"place": float((place - cells[..., 4:])[here].abs().mean())}


class Painted(nn.Module):
    """Conditions for the DiT without a language model: from the slots of a request, or from a picture's latents cell
    by cell. Sums of embeddings hold every composition, met or not. The real condition learns to agree with them."""

    def __init__(self, slots: int, latent_channels: int, width: int):
        super().__init__()
        self.fields = nn.ModuleList(nn.Embedding(size, width) for size in FIELDS.values())
        self.cells = nn.Linear(latent_channels, width)
        self.places = nn.Parameter(0.5 * torch.randn(slots, width))
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def requests(self, requests: list[Asked | None]) -> torch.Tensor:
        """[batch, slots, width]."""
        values = torch.from_numpy(table(requests, len(self.places)))
        x = sum(field(values[..., index]) for index, field in enumerate(self.fields))
        return self._rows(x + self.places * (values[..., :1] != NOTHING))

    def pictures(self, latent: torch.Tensor) -> torch.Tensor:
        """Of scaled latents [batch, channels, rows, columns], a slot a cell: [batch, slots, width]."""
        return self._rows(self.cells(latent.flatten(2).transpose(1, 2)) + self.fields[0].weight[CELL] + self.places)

    def nothing(self) -> torch.Tensor:
        """The row [width] of an unused slot."""
        return self._rows(sum(field.weight[0] for field in self.fields))

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm((x + self.body(x)).float(), x.shape[-1:])


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
        self.painted = Painted(config.query_count, config.decoder.latent_channels, config.dit.caption_width)
        self.seen = Grounding(config.dit.width)
        self.meant = nn.ModuleList(Grounding(config.language.width) for _ in range(2))
        self.alignment = Alignment(config.dit.width, config.language.width)
