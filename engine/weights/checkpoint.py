"""A checkpoint directory: its configuration and every parameter by canonical name, read from disk when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from ..config import ModelConfig, read_config
from ..errors import CheckpointError
from .base import COMPONENTS, Parameter, Weights, some
from .digest import tensor_digests
from .dtypes import FLOATS
from .files import open_files
from .names import normalise
from .safetensors import SafetensorsFile, TensorInfo
from .schema import component_of, expected, ignored

_TOKENIZER = frozenset(("vision", "streams", "decoder"))
_UNDERSTANDING = frozenset(("vision", "language", "lm_head"))


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
        infos = {name: _joined(name, sources[name]) for name in found if not ignored(name)}
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
        self.info(name)
        pieces = self._sources[name]
        return (pieces[0][0].path, pieces[0][0].tensors[pieces[0][1]]) if len(pieces) == 1 else None

    def release(self, names: Iterable[str]) -> None:
        for name in names:
            for file, piece in self._sources[name]:
                file.release(piece)

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
    if len(infos) > 1 and any(not i.shape or (i.dtype, i.shape[1:]) != (first.dtype, first.shape[1:]) for i in infos):
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
        f"{len(found)} {what}: {some(found)}"
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
