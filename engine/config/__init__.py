"""Configurations: dataclasses, presets, and readers of what a checkpoint directory says."""

from .model import (
    DecoderConfig,
    DiTConfig,
    LanguageConfig,
    ModelConfig,
    RouterConfig,
    SamplerConfig,
    StreamsConfig,
    VisionConfig,
)

__all__ = [
    "DecoderConfig",
    "DiTConfig",
    "LanguageConfig",
    "ModelConfig",
    "RouterConfig",
    "SamplerConfig",
    "StreamsConfig",
    "VisionConfig",
]
