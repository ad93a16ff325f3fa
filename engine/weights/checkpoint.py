"""A checkpoint directory: its configuration and every parameter by canonical name, read from disk when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from ..config import ModelConfig, read_config
from ..errors import CheckpointError
from .digest import tensor_digests
from .dtypes import FLOATS, STORAGE
from .files import open_files
from .names import normalise
from .safetensors import SafetensorsFile, TensorInfo
from .schema import component_of, expected, ignored

COMPONENTS = ("vision", "language", "lm_head", "condition", "context", "modulation", "dit", "streams", "decoder")
_TOKENIZER = frozenset(("vision", "streams", "decoder"))
_UNDERSTANDING = frozenset(("vision", "language", "lm_head"))


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
            raise CheckpointError(f"{self._where}: {_some(bad)} hold NaN or infinity; the weights are damaged")

    _infos: dict[str, Parameter]
    _where: str

    def _digest(self, name: str) -> str:
        raise NotImplementedError


class Checkpoint(Weights):
    """Parameters in the safetensors files of a directory. Make one with `Checkpoint.open`."""

    def __init__(self, directory: Path, config: ModelConfig, sources: dict[str, list[tuple[SafetensorsFile, str]]],
                 infos: dict[str, Parameter], ignored: tuple[str, ...], parts: frozenset[str]):  # fmt: skip
        self.directory, self.config, self.ignored, self.parts = directory, config, ignored, parts
        self._sources, self._infos, self._where = sources, infos, str(directory)

    @classmethod
    def open(cls, path: str | Path, *, dit_position: str | None = None) -> Checkpoint:
        """Open a Hugging Face directory with config.json and single or sharded safetensors.

        Every tensor of the files and every parameter of the model is accounted for by name. A directory that holds only
        an image tokenizer (spec 7.4) or only a stock InternVL3 opens too; `parts` says what can run.

        dit_position  see `read_config`
        errors        CheckpointError for files that are missing, damaged, of another format, or that lack, add, rename
                      or reshape a tensor; ConfigError for the configuration
        """
        directory = Path(path)
        files = open_files(directory)
        places = {name: file for file in files for name in file.tensors}
        found = normalise(places, str(directory))
        left_out = tuple(sorted(name for name in found if ignored(name)))
        sources = {name: [(places[piece], piece) for piece in pieces] for name, pieces in found.items()}
        infos = {name: _joined(name, sources[name]) for name in found if name not in left_out}
        shapes = {name: info.shape for name, info in infos.items()}
        config = read_config(directory, shapes, dit_position=dit_position)
        parts = _parts(shapes)
        want = _needed(expected(config), parts)
        _check(str(directory), want, infos)
        return cls(directory, config, sources, {name: infos[name] for name in want}, left_out, parts)

    def raw(self, name: str) -> np.ndarray:
        self.info(name)
        pieces = [file.raw(piece) for file, piece in self._sources[name]]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def f32(self, name: str) -> np.ndarray:
        self.info(name)
        pieces = [file.f32(piece) for file, piece in self._sources[name]]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def place(self, name: str) -> tuple[Path, TensorInfo] | None:
        """The file that holds a parameter, and where in it; None when it is joined from several tensors."""
        self.info(name)
        pieces = self._sources[name]
        return (pieces[0][0].path, pieces[0][0].tensors[pieces[0][1]]) if len(pieces) == 1 else None

    @cached_property
    def _digests(self) -> dict[tuple[Path, str], str]:
        files = {file.path: file for pieces in self._sources.values() for file, _ in pieces}
        return {(path, name): digest for path, file in files.items() for name, digest in tensor_digests(file).items()}

    def _digest(self, name: str) -> str:
        return "+".join(self._digests[file.path, piece] for file, piece in self._sources[name])


def _joined(name: str, pieces: list[tuple[SafetensorsFile, str]]) -> Parameter:
    """Type and shape of the pieces stacked along the first axis."""
    infos = [file.tensors[piece] for file, piece in pieces]
    first = infos[0]
    if any(info.dtype != first.dtype or info.shape[1:] != first.shape[1:] for info in infos):
        seen = [(info.dtype, info.shape) for info in infos]
        raise CheckpointError(f"{pieces[0][0].path}: the parts of `{name}` do not fit together: {seen}")
    shape = first.shape if len(infos) == 1 else (sum(info.shape[0] for info in infos), *first.shape[1:])
    return Parameter(first.dtype, shape)


def _parts(shapes: dict[str, tuple[int, ...]]) -> frozenset[str]:
    """Components of a unified model, an image tokenizer or a stock InternVL3, by what the files hold at all."""

    def holds(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in shapes)

    if not holds("model.dit.", "model.latent_queries", "model.llm_connector.", "model.projector."):
        if holds("model.vae_decoder.") and not holds("model.language_model.", "lm_head."):
            return _TOKENIZER
        if holds("model.language_model.") and not holds("model.vae_decoder."):
            return _UNDERSTANDING
    return frozenset(COMPONENTS)


def _needed(want: dict[str, tuple[int, ...]], parts: frozenset[str]) -> dict[str, tuple[int, ...]]:
    embedding = {"model.language_model.embed_tokens.weight"} if "language" in parts else set()
    queries = {"model.latent_queries"} if "condition" in parts else set()
    return {name: shape for name, shape in want.items()
            if component_of(name) in parts or name in embedding | queries}  # fmt: skip


def _check(where: str, want: dict[str, tuple[int, ...]], have: dict[str, Parameter]) -> None:
    """Names, shapes and kinds, all at once and in one line."""
    missing = [name for name in want if name not in have]
    extra = [name for name in have if name not in want]
    shaped = [f"`{name}` is {list(have[name].shape)}, expected {list(shape)}"
              for name, shape in want.items() if name in have and have[name].shape != shape]  # fmt: skip
    kinds = [f"`{name}` is {have[name].dtype}" for name in want if name in have and have[name].dtype not in FLOATS]
    faults = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (
            ("missing", missing),
            ("unknown", extra),
            ("mis-shaped", shaped),
            ("not of a float type", kinds),
        )
        if found
    ]
    if faults:
        raise CheckpointError(
            f"{where}: the tensors are not those of the model in config.json; {'; '.join(faults)}; "
            "use the files that belong together"
        )


def _some(found: list[str], most: int = 4) -> str:
    listed = ", ".join(item if "`" in item else f"`{item}`" for item in found[:most])
    return listed + (f" and {len(found) - most} more" if len(found) > most else "")
