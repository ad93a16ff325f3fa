"""Weights: strict readers of checkpoint files, and random weights with the same interface."""

from .base import Parameter, Weights
from .checkpoint import Checkpoint
from .random import RandomWeights
from .safetensors import SafetensorsFile, TensorInfo
from .writer import write_safetensors

__all__ = ["Checkpoint", "Parameter", "RandomWeights", "SafetensorsFile", "TensorInfo", "Weights", "write_safetensors"]
