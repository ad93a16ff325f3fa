"""Random weights with the interface of a checkpoint, made tensor by tensor when asked for: nothing is kept.

They are no trained model: they exist to measure speed and memory and to exercise every path. Each tensor depends on the
seed and its own name only, so any two runs and machines agree."""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from ..config import ModelConfig
from ..config.write import write_checkpoint_config
from ..errors import CheckpointError
from .base import Parameter, Weights
from .dtypes import to_bf16, to_f32
from .schema import component_of, expected
from .writer import new_directory, write_safetensors

_CHUNK = 1 << 22  # values made at once; each takes 16 random bits
_DRAW = "sfc64-quantiles-1"  # changes whenever the values do


class RandomWeights(Weights):
    """Weights of any model, all bf16.

    config  the model
    seed    a whole number of at least 0; another seed gives other values for every tensor
    """

    def __init__(self, config: ModelConfig, seed: int = 0):
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise CheckpointError(f"random weights: seed={seed!r} must be a whole number of at least 0")
        self.config, self.seed = config, seed
        self._where = f"random weights of {config.name}"
        self._infos = {name: Parameter("BF16", shape) for name, shape in expected(config).items()}

    def raw(self, name: str) -> np.ndarray:
        return self._draw(name, bits=True)

    def f32(self, name: str) -> np.ndarray:
        return self._draw(name, bits=False)

    def save(self, directory: str | Path, tokenizer: str | Path, *, decoder_f32: bool = True) -> None:
        """Write a complete checkpoint directory: configurations, tokenizer.json and model.safetensors.

        tokenizer    the tokenizer.json to copy
        decoder_f32  store the pixel decoder in float32, as published files do; its values stay those of bf16
        errors       CheckpointError when `directory` holds something already, or cannot be written
        """
        items = []
        for name, info in self._infos.items():
            wide = decoder_f32 and component_of(name) == "decoder"
            get = self.f32 if wide else self.raw
            items.append((name, "F32" if wide else "BF16", info.shape, lambda get=get, name=name: get(name)))
        with new_directory(directory) as aside:
            shutil.copyfile(tokenizer, aside / "tokenizer.json")
            write_checkpoint_config(aside, self.config)
            write_safetensors(aside / "model.safetensors", items, {"format": "pt"})

    def _digest(self, name: str) -> str:
        return f"{_DRAW}:{self.seed}"

    def _draw(self, name: str, bits: bool) -> np.ndarray:
        shape = self.info(name).shape
        mean, deviation = _spread(name, shape)
        table = to_bf16((mean + deviation * _quantiles()).astype(np.float32))
        if not bits:
            table = to_f32(table, "BF16")
        key = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        source = np.random.SFC64(int.from_bytes(key, "little"))
        made = np.empty(prod(shape), table.dtype)
        for start in range(0, len(made), _CHUNK):
            out = made[start : start + _CHUNK]
            picks = source.random_raw(-(-len(out) // 4)).astype("<u8", copy=False).view("<u2")[: len(out)]
            np.take(table, picks, out=out, mode="clip")  # "clip" skips a buffered copy; no index can be out of range
        return made.reshape(shape)


@cache
def _quantiles() -> np.ndarray:
    """[65536] the middle of each 65536th of a normal distribution: mean 0, deviation 1."""
    from statistics import NormalDist

    half = np.array([NormalDist().inv_cdf((index + 0.5) / 65536) for index in range(32768)])
    return np.concatenate((half, -half[::-1]))


def _spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation that keep activations near 1 through every layer."""
    if name.endswith((".ls1", ".ls2")):
        return 0.1, 0.01
    if name.endswith("layer_scales") or (name.endswith(".weight") and len(shape) == 1):
        return 1.0, 0.05
    if name.endswith(("bias", "_embedding", "embed_tokens.weight")):
        return 0.0, 0.02
    if name.endswith(("scale_shift_table", "latent_queries")):
        return 0.0, shape[-1] ** -0.5
    if name.endswith("time_embed.linear.weight"):
        return 0.0, 0.1 * shape[-1] ** -0.5  # its output gates every block
    return 0.0, prod(shape[1:]) ** -0.5
