"""Shapes of the understanding half: vision tower and language model."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import MOST_LAYERS, above_zero, divides, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """InternViT tower, 2x2 pixel shuffle and projector (spec 3.1, 3.2)."""

    width: int  # channels of a patch token
    depth: int  # encoder layers
    heads: int
    mlp_width: int
    image_size: int  # side of the training picture, pixels
    patch_size: int  # side of a patch, pixels
    eps: float = 1e-6  # LayerNorms of the encoder; the projector's is 1e-5

    def __post_init__(self):
        whole("vision", self, "width heads mlp_width image_size patch_size")
        whole("vision", self, "depth", MOST_LAYERS)
        above_zero("vision", self, "eps")
        divides("vision", "width", self.width, "heads", self.heads)
        divides("vision", "image_size", self.image_size, "2 * patch_size", 2 * self.patch_size)

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def grid(self) -> int:
        """Patches along a side of the training picture."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Image tokens after the 2x2 shuffle, at the training size."""
        return (self.grid // 2) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageConfig:
    """Qwen2 language model (spec 5.1). The connector has the same geometry."""

    vocab_size: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_theta: float = 1e6
    eps: float = 1e-6
    max_positions: int = 32768  # dynamic RoPE scaling is inactive below this length; longer inputs are refused

    def __post_init__(self):
        whole("language", self, "vocab_size width heads kv_heads mlp_width max_positions")
        whole("language", self, "depth", MOST_LAYERS)
        above_zero("language", self, "rope_theta eps")
        divides("language", "width", self.width, "heads", self.heads)
        divides("language", "heads", self.heads, "kv_heads", self.kv_heads)
        divides("language", "head_dim", self.head_dim, "2", 2)

    @property
    def head_dim(self) -> int:
        return self.width // self.heads
