"""Configurations: dataclasses, presets, and readers of what a checkpoint directory says."""

from .generation import DecoderConfig, DiTConfig, RouterConfig, SamplerConfig, StreamsConfig
from .model import ModelConfig
from .preset import preset, presets
from .read import read_config
from .serial import from_dict, to_dict
from .understanding import LanguageConfig, VisionConfig

__all__ = [
    "DecoderConfig",
    "DiTConfig",
    "LanguageConfig",
    "ModelConfig",
    "RouterConfig",
    "SamplerConfig",
    "StreamsConfig",
    "VisionConfig",
    "from_dict",
    "preset",
    "presets",
    "read_config",
    "to_dict",
]
