"""From a path or a preset to a loaded engine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..api import Engine
from ..backends.choose import open_backend, resolve
from ..config import ModelConfig, preset, presets
from ..errors import CheckpointError, ConfigError, InputError
from ..pipelines.cache import DEFAULT_BYTES, Store
from ..pipelines.parts import Parts
from ..requests import whole

BUNDLED = Path(__file__).parent.parent / "assets"
DEFAULT = "spar-nano"  # small, and really trained


def find_checkpoint(source: str | Path) -> Path | None:
    """Directory of a checkpoint: a path, or the name of a model that ships with the package; None for neither."""
    bundled = BUNDLED / str(source)
    if str(source).replace("-", "").isalnum() and bundled.is_dir():
        return bundled
    path = Path(source)
    return path if path.exists() else None


def open_weights(
    source: str | Path, *, random_weights: bool = False, seed: int = 0, dit_position: str | None = None,
    lora: Sequence[str | tuple[str | Path, float]] = (),
) -> Any:  # fmt: skip
    """The parameters of `source`: a checkpoint directory, a bundled model, or with `random_weights` a preset.

    lora  see `load`"""
    from ..weights.lora import with_loras

    return with_loras(_open(source, random_weights, seed, dit_position), lora)


def _open(source: str | Path, random_weights: bool, seed: int, dit_position: str | None) -> Any:
    from ..weights import Checkpoint, RandomWeights

    if random_weights:
        config = preset(str(source))
        if dit_position is not None:
            config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, position=dit_position))
        return RandomWeights(_with_byte_tokens(config), seed=whole("seed", seed, 0, 2**64 - 1))
    if seed != 0:
        raise InputError(f"seed={seed} has no effect on a checkpoint; it belongs to random_weights=True")
    directory = find_checkpoint(source)
    if directory is None:
        if str(source) in presets():
            raise CheckpointError(f"{source} is a preset, and no weights of it are public; give a checkpoint "
                                  "directory, or random_weights=True to measure speed")  # fmt: skip
        raise CheckpointError(f"{source}: no such checkpoint directory; presets for random_weights=True are "
                              f"{', '.join(presets())}")  # fmt: skip
    return Checkpoint.open(directory, dit_position=dit_position)


def open_tokenizer(weights: Any) -> Any:
    """The checkpoint's tokenizer; random weights without a directory read and write bytes."""
    from ..text import TextTokenizer, byte_tokenizer

    config = weights.config
    if weights.directory is not None:
        return TextTokenizer.open(weights.directory, config.language.vocab_size, config.image_token_id)
    with tempfile.TemporaryDirectory() as folder:
        byte_tokenizer(Path(folder) / "tokenizer.json")
        return TextTokenizer.open(folder, config.language.vocab_size, config.image_token_id)


def host_parts(weights: Any, cache_bytes: int = DEFAULT_BYTES) -> Parts:
    """Embedding lookup over the memory-mapped table, the latent queries, and caches of at most `cache_bytes`."""
    from ..weights.dtypes import to_f32

    name = "model.language_model.embed_tokens.weight"
    table, dtype = weights.raw(name), weights.info(name).dtype

    def embed(ids: np.ndarray) -> np.ndarray:
        return to_f32(table[ids], dtype)

    return Parts(weights.config, embed, weights.f32("model.latent_queries")[0], Store(cache_bytes))


def load(
    source: str | Path = DEFAULT,
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    random_weights: bool = False,
    seed: int = 0,
    dit_position: str | None = None,
    lora: Sequence[str | tuple[str | Path, float]] = (),
    max_running: int = 8,
    max_waiting: int = 64,
    max_batch: int = 4,
    cache_bytes: int | None = None,
    memory_budget: int | None = None,
    nvtx: bool = False,
    **options: Any,
) -> Engine:
    """Load a model.

    source          checkpoint directory (safetensors), the name of a bundled model, or a preset with random_weights;
                    by default spar-nano, which draws scenes of coloured shapes
    backend         "native", "onnxruntime", "torch", or "auto": the first that is installed; `about` says which and why
    precision       "auto" takes the backend's own default; else one of the backend's precisions
    threads         threads of the backend; None leaves it the machine
    random_weights  build the preset `source` with random weights made from `seed`: for measuring, not for pictures
    dit_position    position table of the DiT: "sincos", "none", or None for the checkpoint's setting (spec 11.1)
    lora            LoRA files in diffusers or peft naming, each `FILE`, `FILE:SCALE` or a pair; merged in this order
    max_running     requests that take turns at once
    max_waiting     requests in line for a start; beyond them one is refused with Busy
    max_batch       requests whose sampler steps may be one run, where the backend can do that exactly (native), 1 .. 8
    cache_bytes     bytes of results that requests share (captions, features of pictures, states of a conversation ...);
                    0 keeps none; None: 256 MiB, or an eighth of a smaller budget. Results are the same bits either way
    memory_budget   bytes that the model and its requests may hold, interpreter and libraries not counted; components
                    are unloaded between their uses to stay below, and what cannot is refused with OverBudget
    nvtx            mark the runs of components as NVTX ranges; needs the package nvtx
    options         passed to the backend, which refuses what it does not know
    errors          CheckpointError, ConfigError, BackendError, MissingDependency
    """
    from ..text import Prompts

    name, reason = resolve(backend)
    if memory_budget is not None:
        memory_budget = whole("memory_budget", memory_budget, 1, 1 << 50)
    if cache_bytes is None:
        cache_bytes = DEFAULT_BYTES if memory_budget is None else min(DEFAULT_BYTES, memory_budget // 8)
    cache_bytes = whole("cache_bytes", cache_bytes, 0, 1 << 50)
    weights = open_weights(source, random_weights=random_weights, seed=seed, dit_position=dit_position, lora=lora)
    if threads is not None:
        options["threads"] = whole("threads", threads, 1, 1024)
    if precision != "auto":
        options["precision"] = precision
    try:
        opened = open_backend(name, weights, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ConfigError(f"backend {name}: {str(error).split('()')[-1].strip()}; see its constructor") from None
    about = {
        "source": str(source), "backend": name, "reason": reason, "precision": opened.precision,
        "dit_position": weights.config.dit.position, "ignored": list(weights.ignored),
        "random": weights.directory is None,
    }  # fmt: skip
    if hasattr(opened, "about"):
        about["device"] = opened.about()
    prompts = Prompts(open_tokenizer(weights), weights.config)
    return Engine(
        weights.config, opened, host_parts(weights, cache_bytes), prompts, about,
        max_running=max_running, max_waiting=max_waiting, max_batch=max_batch,
        memory_budget=memory_budget, nvtx=nvtx,
    )  # fmt: skip


def _with_byte_tokens(config: ModelConfig) -> ModelConfig:
    """The same model, told where the byte tokenizer has its image token."""
    from ..text.special import IMAGE_CONTEXT, NAMES

    return dataclasses.replace(config, image_token_id=256 + NAMES.index(IMAGE_CONTEXT))
