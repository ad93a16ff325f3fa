"""What every source of parameters offers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..config import ModelConfig
from ..errors import CheckpointError
from .dtypes import STORAGE
from .safetensors import TensorInfo
from .schema import component_of

COMPONENTS = ("vision", "language", "lm_head", "condition", "context", "modulation", "dit", "streams", "decoder")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as it is stored."""

    dtype: str  # a key of dtypes.STORAGE
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * STORAGE[self.dtype].itemsize


class Weights:
    """What every source of parameters offers; `Checkpoint` and `RandomWeights` are the two.

    config     the model
    directory  where tokenizer and configuration lie; None for weights made in memory
    ignored    names of training-only tensors that the files also hold
    parts      names of the components that can run on these weights
    """

    config: ModelConfig
    directory: Path | None = None
    ignored: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset(COMPONENTS)

    def names(self, component: str | None = None) -> list[str]:
        """Canonical names, of one component or of all, in the order of the data flow."""
        return [name for name in self._infos if component in (None, component_of(name))]

    def info(self, name: str) -> Parameter:
        """Stored type and shape of one parameter."""
        try:
            return self._infos[name]
        except KeyError:
            raise CheckpointError(f"{self._where}: holds no parameter `{name}`") from None

    def raw(self, name: str) -> np.ndarray:
        """The parameter as stored, read-only; bf16 and float8 as their bits. Not to be written to."""
        raise NotImplementedError

    def f32(self, name: str) -> np.ndarray:
        """New float32 array of the parameter's shape."""
        raise NotImplementedError

    def place(self, name: str) -> tuple[Path, TensorInfo] | None:
        """The file that holds a parameter and where in it; None when it is made in memory, or joined from several."""
        self.info(name)
        return None

    def release(self, names: Iterable[str]) -> None:
        """Let the system take back the memory that mirrors these parameters of a file; they can be read again."""

    def sha256(self, names: Iterable[str] | None = None) -> str:
        """Hex digest of names, types, shapes and bytes of the given parameters (all by default), in any order."""
        lines = []
        for name in sorted(self.names() if names is None else set(names)):
            info = self.info(name)
            lines.append(f"{name} {info.dtype} {list(info.shape)} {self._digest(name)}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def memory(self) -> dict[str, int]:
        """Component -> bytes of its parameters as stored; "host" holds the embedding table and the latent queries."""
        total: dict[str, int] = {}
        for name, info in self._infos.items():
            component = component_of(name)
            total[component] = total.get(component, 0) + info.nbytes
        return total

    def verify_finite(self) -> None:
        """CheckpointError naming the parameters that hold a NaN or an infinity. Reads everything."""
        bad = [name for name in self.names() if not np.isfinite(self.f32(name)).all()]
        if bad:
            raise CheckpointError(f"{self._where}: {some(bad)} hold NaN or infinity; the weights are damaged")

    _infos: dict[str, Parameter]
    _where: str

    def _digest(self, name: str) -> str:
        raise NotImplementedError


def some(found: list[str], most: int = 4) -> str:
    listed = ", ".join(item if "`" in item else f"`{item}`" for item in found[:most])
    return listed + (f" and {len(found) - most} more" if len(found) > most else "")
