"""ModelConfig of a checkpoint: its `config.json`, the sub-models that names, its tensors, and the presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ..errors import ConfigError
from . import detect, known
from .jsonfile import Fields, load_json
from .model import GUIDANCE_SCALE, ModelConfig
from .preset import preset
from .read_decoder import read_decoder
from .read_dit import read_dit, read_sampler
from .read_generation import (
    read_connector_depth,
    read_image_token,
    read_latent_scale,
    read_query_count,
    read_router,
    read_streams,
)
from .read_understanding import (
    LANGUAGE_KEYS,
    VISION_KEYS,
    language_fields,
    read_language,
    read_vision,
    vision_fields,
)

SUBMODELS = ("mllm_path", "mllm_hf_path", "vae_path", "dit_path")
PUBLISHED = ("spar-1b", "spar-3b")  # the UniLIP presets have the same geometry
_READ = known.words(
    """
    text_config llm_config vision_config n_query connect_layer unilip_factor guidance_scale enable_dynamic_routing
    routing_num_layers routing_temperature image_token_id image_seq_length downsample_ratio vision_feature_layer
    select_layer ps_version vision_feature_select_strategy projector_hidden_act use_dual_stream
    dual_stream_num_layers dual_stream_num_heads dual_stream_mlp_ratio tie_word_embeddings model_type dit_pos_embed
    """
)


def read_config(
    directory: str | Path | None, tensors: Mapping[str, tuple[int, ...]], *, dit_position: str | None = None
) -> ModelConfig:
    """What the checkpoint in `directory` is.

    directory     holds config.json; sub-model configurations count when they lie below it. None: only the tensors speak
    tensors       canonical name -> shape of everything in the checkpoint
    dit_position  "sincos" or "none" (spec 11.1; no file of the original records it); None: the file's `dit_pos_embed`,
                  else "sincos"
    returns       a field of the file wins over what the tensors show, that over a preset of the same geometry; parts
                  that the checkpoint does not hold come from the file or the preset
    errors        ConfigError for an unknown key (with the nearest known one), a wrong value, a setting that this engine
                  does not compute, and a contradiction between the file and the tensors
    """
    if directory is None:
        top, files = Fields({}, "the tensors alone"), dict.fromkeys(SUBMODELS)
    else:
        directory = Path(directory)
        top = Fields(load_json(directory / "config.json"), str(directory / "config.json"))
        _check_top(top)
        files = {path: _submodel(directory, top.text(path)) for path in SUBMODELS}
    seen = {part: getattr(detect, part)(tensors) for part in ("language", "vision", "dit", "decoder")}
    base = _nearest(seen["language"], seen["dit"])

    texts = _all(top, files, ("text_config", "llm_config"), language_fields)
    visions = _all(top, files, ("vision_config",), vision_fields)
    language = read_language(_first(texts), seen["language"], base and base.language, f"{top.where}: text_config")
    vision = read_vision(_first(visions), seen["vision"], _fitting(base and base.vision, seen["vision"]),
                         f"{top.where}: vision_config")  # fmt: skip
    _same(texts, language, {name: key for name, key in LANGUAGE_KEYS.items() if name != "vocab_size"})
    _same(visions, vision, VISION_KEYS)
    if (length := top.whole("image_seq_length")) not in (None, vision.tokens):
        raise ConfigError(f"{top.where}: image_seq_length={length}, but image_size={vision.image_size} and "
                          f"patch_size={vision.patch_size} give {vision.tokens} image tokens")  # fmt: skip

    streams = read_streams(top, tensors, language.width)
    router = read_router(top, tensors)
    hf = _file(files["mllm_hf_path"], "config.json")
    return ModelConfig(
        name=_label(top, tensors, streams.dual or router is not None, base),
        vision=vision,
        language=language,
        connector_depth=read_connector_depth(top, tensors, base),
        query_count=read_query_count(top, tensors, base),
        streams=streams,
        dit=read_dit(
            _file(files["dit_path"], "transformer/config.json"), seen["dit"], base and base.dit,
            f"{top.where}: dit_path", dit_position or top.text("dit_pos_embed", "sincos"),
        ),
        decoder=read_decoder(
            _file(files["vae_path"], "config.json"), seen["decoder"], base and base.decoder, f"{top.where}: vae_path"
        ),
        latent_scale=read_latent_scale(top, tensors, streams, base),
        router=router,
        sampler=read_sampler(_file(files["dit_path"], "scheduler/scheduler_config.json")),
        image_token_id=read_image_token(top, hf),
        guidance_scale=top.number("guidance_scale", GUIDANCE_SCALE),
    )  # fmt: skip


def _check_top(top: Fields) -> None:
    training = {key for key in top.values if key.startswith(known.TRAINING_PREFIXES)}
    top.refuse_unknown(known.TOP | _READ | training | frozenset(SUBMODELS))
    if top.text("model_type") == "unilip_vae_internvl":
        raise ConfigError(f"{top.where}: model_type='unilip_vae_internvl' is an intermediate of training that holds a "
                          "whole autoencoder; use the unified checkpoint made from it")  # fmt: skip
    top.only("model_type", "unilip_internvl", "internvl", "internvl_chat")
    top.only("tie_word_embeddings", False)
    top.only("downsample_ratio", 0.5)
    top.only("vision_feature_layer", -1)
    top.only("select_layer", -1)
    top.only("ps_version", "v2")
    top.only("vision_feature_select_strategy", "default")
    top.only("projector_hidden_act", "gelu")


def _submodel(directory: Path, named: str | None) -> Path | None:
    """The directory below the checkpoint that a `*_path` names; None for a label, such as a path of another machine."""
    if not named or "\0" in named or PurePath(named).is_absolute() or ".." in PurePath(named).parts:
        return None
    found = directory / named
    return found if found.is_dir() else None


def _file(directory: Path | None, name: str) -> Fields | None:
    path = directory / name if directory else None
    return Fields(load_json(path), str(path)) if path and path.is_file() else None


def _all(
    top: Fields, files: Mapping[str, Path | None], keys: tuple[str, ...], read: Callable[[Fields], dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Every description of one part, the checkpoint's own first, as (where, fields)."""
    holders = (top, *filter(None, (_file(files[path], "config.json") for path in ("mllm_hf_path", "mllm_path"))))
    found = (holder.sub(key) for holder in holders for key in keys)
    return [(fields.where, read(fields)) for fields in found if fields is not None]


def _first(found: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return found[0][1] if found else {}


def _same(found: list[tuple[str, dict[str, Any]]], made: object, keys: Mapping[str, str]) -> None:
    """The sub-models that the checkpoint carries must describe the same model as its own config.json."""
    for where, given in found[1:]:
        for name, key in keys.items():
            if given[name] is not None and given[name] != getattr(made, name):
                raise ConfigError(f"{where}: {key}={given[name]}, but {found[0][0]} gives {getattr(made, name)}; "
                                  "make them equal")  # fmt: skip


def _nearest(language: Mapping[str, Any], dit: Mapping[str, Any]) -> ModelConfig | None:
    """The published model of the same geometry; the vocabulary may differ."""
    geometry = {name: value for name, value in language.items() if name != "vocab_size"}
    if geometry:
        for config in map(preset, PUBLISHED):
            if _fitting(config.language, geometry) and _fitting(config.dit, dit):
                return config
    return None


def _fitting(part: Any, seen: Mapping[str, Any]) -> Any:
    """`part` of a preset when it agrees with the tensors, else None."""
    return part if part and all(getattr(part, name) == value for name, value in seen.items()) else None


def _label(top: Fields, tensors: Mapping[str, tuple[int, ...]], spar: bool, base: ModelConfig | None) -> str:
    """The published model's name, else the one the file was saved under, else the family."""
    generates = detect.has(tensors, detect.DIT) or detect.has(tensors, detect.AUTOENCODER)
    family = ("spar" if spar else "unilip") if generates else "internvl3"
    if base and generates:
        return base.name.replace("spar", family)
    return PurePath(top.text("_name_or_path") or "").name or family
