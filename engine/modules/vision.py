"""InternViT tower, 2x2 pixel shuffle and projector (spec 3.1, 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.compiler import is_exporting

from ..config import VisionConfig
from ..errors import InputError
from ..ops.torch_ops import wide
from .layers import join_heads
from .tap import tap


class Embeddings(nn.Module):
    """Patches, class token and learned positions; the position table follows the grid of the picture."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.grid = config.grid
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, config.width))
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))

    def positions(self, rows: int, columns: int) -> torch.Tensor:
        """[1, 1 + rows * columns, width]; bicubic, not antialiased, in at least float32."""
        table = self.position_embedding
        square = table[:, 1:].to(wide(table.dtype)).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        fitted = F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False)
        return torch.cat((table[:, :1], fitted.flatten(2).transpose(1, 2).to(table.dtype)), dim=1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        patches = self.patch_embedding(pixels)
        rows, columns = patches.shape[-2:]
        first = self.class_embedding.expand(patches.shape[0], -1, -1)
        tokens = torch.cat((first, patches.flatten(2).transpose(1, 2)), dim=1)
        return tap("embeddings", tokens + self.positions(rows, columns)), (rows, columns)


class Attention(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(join_heads(F.scaled_dot_product_attention(query, key, value)))


class Mlp(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.attn, self.mlp = Attention(config), Mlp(config)
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)
        self.ls1 = nn.Parameter(torch.full((config.width,), 0.1))
        self.ls2 = nn.Parameter(torch.full((config.width,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1
        return x + self.mlp(self.norm2(x)) * self.ls2


class Encoder(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = tap(f"layer_{index}", layer(x))
        return x


class VisionTower(nn.Module):
    """Pictures to patch features."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures [tiles, 3, height, width], sides multiples of the patch -> [tiles, rows, columns, width]."""
        tokens, grid = self.embeddings(pixels)
        return self.encoder(tokens)[:, 1:].unflatten(1, grid)


def projector(config: VisionConfig, width: int) -> nn.Sequential:
    """Four folded patch features to one token of the language model; slots 0, 1, 3 hold parameters."""
    folded = 4 * config.width
    return nn.Sequential(nn.LayerNorm(folded, eps=1e-5), nn.Linear(folded, width), nn.GELU(), nn.Linear(width, width))


def pixel_shuffle(x: torch.Tensor) -> torch.Tensor:
    """[batch, rows, columns, width] -> [batch, rows / 2 * columns / 2, 4 * width]; the four of a cell row by row."""
    cells = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return cells.transpose(2, 3).flatten(3).flatten(1, 2)


def check_sides(pixels: torch.Tensor, cell: int) -> None:
    """InputError unless both sides are multiples of `cell`. A traced graph cannot check; its caller does."""
    for axis, size in () if is_exporting() else zip(("height", "width"), pixels.shape[-2:], strict=True):
        if size % cell or size == 0:
            low = size // cell * cell
            nearest = f"{low} and {low + cell}" if low else f"{cell}"
            raise InputError(f"vision: {axis}={size} is not a multiple of {cell}; nearest: {nearest}")


def visual_tokens(tower: VisionTower, project: nn.Sequential, pixels: torch.Tensor) -> torch.Tensor:
    """Pictures [tiles, 3, height, width] -> tokens [tiles, tokens, hidden].

    A side that is not a multiple of two patches: InputError."""
    check_sides(pixels, 2 * tower.embeddings.patch_embedding.stride[0])
    return tap("features", project(tap("pixel_shuffled", pixel_shuffle(tower(pixels)))))
