"""LoRA files merged into the weights of a model: W + scale * alpha / rank * up @ down.

Files name their tensors as diffusers and peft do: a parameter's path, then `lora_A` and `lora_B` (or `lora.down` and
`lora.up`, `lora_down` and `lora_up`), and in some files `alpha`. The merged model is a model like any other, so every
backend takes it. Nothing is ever taken off again: another selection is merged from the same base, hence A, B, A gives
the bits of A.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..config.jsonfile import load_json
from ..errors import CheckpointError, InputError
from .base import Parameter, Weights, some
from .digest import file_digest
from .dtypes import FLOATS, to_bf16, to_f32
from .safetensors import SafetensorsFile, TensorInfo

_PART = re.compile(
    r"(.+)\.(lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up|alpha)(?:\.(?!weight$)[\w-]+)?(?:\.weight)?$"
)
_DOWN = frozenset(("lora_A", "lora_down", "lora.down"))
_PREFIXES = (
    ("base_model.model.", ""),
    ("transformer.", "model.dit."),
    ("text_encoder.model.", "model.language_model."),
    ("text_encoder.", "model.language_model."),
    ("language_model.model.", "model.language_model."),
    ("diffusion_model.", "model.dit."),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one parameter, before the scale."""

    down: str  # names of tensors in the file
    up: str
    alpha: float | None


class Lora:
    """One file, its tensors matched with the parameters of a model.

    path    safetensors file
    scale   factor of everything in it; 0 leaves the model as it is
    errors  CheckpointError for a file that is damaged, incomplete, or not for this model; InputError for the scale
    """

    def __init__(self, path: str | Path, scale: float, base: Weights):
        if not math.isfinite(scale):
            raise InputError(f"lora {path}: scale={scale} must be a finite number")
        self.path, self.scale = Path(path), float(scale)
        self._file = SafetensorsFile(path)
        self.pairs = _matched(self._file, base)

    def added(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """scale * alpha / rank * up @ down for one parameter, float64, in its shape."""
        pair = self.pairs[name]
        down, up = (self._file.f32(part).astype(np.float64) for part in (pair.down, pair.up))
        rank = down.shape[0]
        factor = self.scale * (1.0 if pair.alpha is None else pair.alpha / rank)
        return (factor * (up.reshape(up.shape[0], rank) @ down.reshape(rank, -1))).reshape(shape)

    @cached_property
    def digest(self) -> str:
        """Of the file, of what lies beside it, and of the scale."""
        return f"{file_digest(self.path)}*{self.scale!r}*{sorted({pair.alpha or 0.0 for pair in self.pairs.values()})}"


class MergedWeights(Weights):
    """A model with LoRA files merged in. Merged parameters keep their stored type; the others are those of `base`."""

    def __init__(self, base: Weights, loras: Sequence[Lora]):
        self.base, self.loras = base, tuple(loras)
        self.config, self.directory, self.ignored, self.parts = base.config, base.directory, base.ignored, base.parts
        self.seed = getattr(base, "seed", None)
        self._infos, self._where = base._infos, base._where
        self.asked = [f"{lora.path}:{lora.scale!r}" for lora in self.loras]  # as `with_loras` takes them
        self._changed = {name: [lora for lora in self.loras if name in lora.pairs]
                         for lora in self.loras for name in lora.pairs}  # fmt: skip

    def raw(self, name: str) -> np.ndarray:
        if name not in self._changed:
            return self.base.raw(name)
        merged, dtype = self._merged(name), self.info(name).dtype
        return to_bf16(merged) if dtype == "BF16" else merged.astype({"F16": "<f2", "F64": "<f8"}.get(dtype, "<f4"))

    def f32(self, name: str) -> np.ndarray:
        if name not in self._changed:
            return self.base.f32(name)
        return to_f32(self.raw(name), self.info(name).dtype)  # the same numbers for every backend

    def place(self, name: str) -> tuple[Path, TensorInfo] | None:
        return None if name in self._changed else self.base.place(name)

    def release(self, names: Iterable[str]) -> None:
        self.base.release(names)

    def _merged(self, name: str) -> np.ndarray:
        shape = self.info(name).shape
        total = self.base.f32(name).astype(np.float64)
        for lora in self._changed[name]:
            total += lora.added(name, shape)
        return total.astype(np.float32)

    def _digest(self, name: str) -> str:
        base = self.base._digest(name)
        if name not in self._changed:
            return base
        said = "|".join([base, *(f"{lora.digest}:{name}" for lora in self._changed[name])])
        return hashlib.sha256(said.encode()).hexdigest()


def with_loras(weights: Any, asked: Iterable[str | tuple[str | Path, float]]) -> Any:
    """`weights` with LoRA files merged in; without any, `weights` itself.

    asked   `FILE` or `FILE:SCALE`, or pairs of both; the scale is 1 where none is given
    errors  see `Lora`; CheckpointError where a parameter is stored in a type that cannot take a merge
    """
    asked = list(asked)
    if not asked:
        return weights
    loras = [Lora(*(_parsed(item) if isinstance(item, str) else item), weights) for item in asked]
    for lora in loras:
        for name in lora.pairs:
            dtype = weights.info(name).dtype
            if dtype not in FLOATS or dtype.startswith("F8"):
                raise CheckpointError(f"{lora.path}: `{name}` is stored as {dtype}, which takes no merge; "
                                      "use a checkpoint in bf16 or float32")  # fmt: skip
    return MergedWeights(weights, loras)


def _parsed(text: str) -> tuple[str, float]:
    """`FILE:SCALE`; a colon that no number follows belongs to the file."""
    path, colon, number = text.rpartition(":")
    if colon and not Path(text).exists():
        try:
            return path, float(number)
        except ValueError:
            pass
    return text, 1.0


def _matched(file: SafetensorsFile, base: Weights) -> dict[str, Pair]:
    found: dict[str, dict[str, str]] = {}
    foreign = []
    for tensor in file.tensors:
        match = _PART.match(tensor)
        if match is None:
            foreign.append(tensor)
            continue
        role = "alpha" if match[2] == "alpha" else "down" if match[2] in _DOWN else "up"
        found.setdefault(match[1], {})[role] = tensor
    if foreign or not found:
        raise CheckpointError(f"{file.path}: is not a LoRA file in the naming of diffusers or peft"
                              + (f"; it holds {some(foreign)}" if foreign else ""))  # fmt: skip
    known, pairs, default = set(base.names()), {}, _alpha_beside(file.path)
    unknown = [path for path in found if _parameter(path, known) is None]
    if unknown:
        raise CheckpointError(f"{file.path}: {some(unknown)} belong to no parameter of {base._where}; "
                              "the file was trained for another model")  # fmt: skip
    for path, parts in found.items():
        if lacking := {"down", "up"} - parts.keys():
            raise CheckpointError(f"{file.path}: `{path}` lacks its {' and '.join(sorted(lacking))} matrix; "
                                  "the file is incomplete")  # fmt: skip
        name = _parameter(path, known)
        if name in pairs:
            raise CheckpointError(f"{file.path}: `{path}` is a second change of `{name}`; keep one")
        alpha = float(file.f32(parts["alpha"]).reshape(-1)[0]) if "alpha" in parts else default
        pairs[name] = _checked(file, Pair(parts["down"], parts["up"], alpha), name, base.info(name))
    return pairs


def _alpha_beside(path: Path) -> float | None:
    """`lora_alpha` of the adapter_config.json that peft writes beside its file; None without one."""
    config = path.parent / "adapter_config.json"
    if not config.is_file():
        return None
    values = load_json(config)
    if unsupported := [option for option in ("use_dora", "use_rslora", "alpha_pattern", "rank_pattern")
                       if values.get(option)]:  # fmt: skip
        raise CheckpointError(f"{config}: {unsupported[0]} is set, which is not a plain LoRA; merge it with peft first")
    alpha = values.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise CheckpointError(f"{config}: lora_alpha={alpha!r} must be a number")
    return float(alpha)


def _checked(file: SafetensorsFile, pair: Pair, name: str, info: Parameter) -> Pair:
    down, up = file.tensors[pair.down].shape, file.tensors[pair.up].shape
    want = (info.shape[0], math.prod(info.shape[1:]))
    fits = len(down) >= 2 and len(up) >= 2 and down[0] > 0 and math.prod(up[1:]) == down[0]
    if not fits or (up[0], math.prod(down[1:])) != want:
        raise CheckpointError(f"{file.path}: `{pair.up}` {list(up)} times `{pair.down}` {list(down)} does not fit "
                              f"`{name}` {list(info.shape)}; the file was trained for another model")  # fmt: skip
    return pair


def _parameter(path: str, known: set[str]) -> str | None:
    """The parameter that a path in a LoRA file means."""
    paths = [path]
    for prefix, ours in _PREFIXES:
        paths += [ours + one.removeprefix(prefix) for one in list(paths) if one.startswith(prefix)]
    for one in paths:
        for candidate in (f"{one}.weight", one, f"model.{one}.weight", f"model.dit.{one}.weight"):
            if candidate in known:
                return candidate
    return None
