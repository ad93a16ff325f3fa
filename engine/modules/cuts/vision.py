"""Components `vision` and `streams`."""

from __future__ import annotations

import torch

from ...config import ModelConfig
from ..streams import streams
from ..vision import VisionTower, projector, visual_tokens
from .base import Cut, below_model


class VisionCut(Cut):
    def __init__(self, config: ModelConfig):
        super().__init__()
        tower, project = VisionTower(config.vision), projector(config.vision, config.language.width)
        self.model = below_model(vision_tower=tower, multi_modal_projector=project)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor]:
        return (visual_tokens(self.model.vision_tower, self.model.multi_modal_projector, pixel_values),)


class StreamsCut(Cut):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.model = below_model(vae_decoder=streams(config.streams, config.language.width))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model.vae_decoder(features),)
