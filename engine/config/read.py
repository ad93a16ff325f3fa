"""ModelConfig of a checkpoint directory: its `config.json`, the sub-models that names, its tensors, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ..errors import ConfigError
from . import detect, known
from .jsonfile import Fields, load_json
from .merge import agree, merge
from .model import ModelConfig, RouterConfig, StreamsConfig
from .preset import preset, presets
from .read_parts import (
    LANGUAGE_KEYS,
    VISION_KEYS,
    language_fields,
    read_decoder,
    read_dit,
    read_language,
    read_sampler,
    read_vision,
    vision_fields,
)

SUBMODELS = ("mllm_path", "mllm_hf_path", "vae_path", "dit_path")
_READ = known.words(
    """
    text_config llm_config vision_config n_query connect_layer unilip_factor enable_dynamic_routing routing_num_layers
    routing_temperature image_token_id image_seq_length downsample_ratio vision_feature_layer select_layer ps_version
    vision_feature_select_strategy projector_hidden_act use_dual_stream dual_stream_num_layers dual_stream_num_heads
    dual_stream_mlp_ratio tie_word_embeddings model_type dit_pos_embed
    """
)
_MODELS = ("unilip_internvl", "internvl", "internvl_chat")


def read_config(directory: str | Path, tensors: Mapping[str, tuple[int, ...]], *,
                dit_position: str | None = None) -> ModelConfig:  # fmt: skip
    """What the checkpoint in `directory` is.

    directory     holds config.json; sub-model configurations count when they lie below it
    tensors       canonical name -> shape of everything in the checkpoint
    dit_position  "sincos" or "none" (spec 11.1; no file of the original records it); None: the file's
                  `dit_pos_embed`, else "sincos"
    returns       a field of the file wins over what the tensors show, that over a preset of the same geometry; parts
                  that the checkpoint does not hold come from the file or the preset
    errors        ConfigError for an unknown key (with the nearest known one), a wrong value, a setting that this engine
                  does not compute, and a contradiction between the file and the tensors
    """
    directory = Path(directory)
    top = Fields(load_json(directory / "config.json"), str(directory / "config.json"))
    _check_top(top)
    files = {path: _submodel(directory, top.text(path)) for path in SUBMODELS}
    told_language, told_vision, told_dit = detect.language(tensors), detect.vision(tensors), detect.dit(tensors)
    base = _nearest(told_language, told_dit)

    texts = _all(top, files, ("text_config", "llm_config"), language_fields)
    visions = _all(top, files, ("vision_config",), vision_fields)
    language = read_language(_first(texts), told_language, base and base.language, f"{top.where}: text_config")
    vision = read_vision(_first(visions), told_vision, base and base.vision, f"{top.where}: vision_config")
    _same(texts, language, {name: key for name, key in LANGUAGE_KEYS.items() if name != "vocab_size"})
    _same(visions, vision, VISION_KEYS)
    if (seen := top.whole("image_seq_length")) not in (None, vision.tokens):
        raise ConfigError(
            f"{top.where}: image_seq_length={seen}, but image_size={vision.image_size} and "
            f"patch_size={vision.patch_size} give {vision.tokens} image tokens"
        )

    position = dit_position or top.text("dit_pos_embed", "sincos")
    dit = read_dit(_file(files["dit_path"], "transformer/config.json"), told_dit, base and base.dit,
                   f"{top.where}: dit_path", position)  # fmt: skip
    decoder = read_decoder(_file(files["vae_path"], "config.json"), detect.decoder(tensors), base and base.decoder,
                           f"{top.where}: vae_path")  # fmt: skip
    streams = _streams(top, tensors, language.width, base)
    router = _router(top, tensors)
    return ModelConfig(
        name=_label(top, streams, router, base),
        vision=vision,
        language=language,
        connector_depth=_count(top, "connect_layer", detect.count(tensors, f"{detect.CONNECTOR}layers."),
                               base and base.connector_depth),
        query_count=_count(top, "n_query", detect.size(tensors, "model.latent_queries", 1), base and base.query_count),
        streams=streams,
        dit=dit,
        decoder=decoder,
        latent_scale=_latent_scale(top, tensors, streams, base),
        router=router,
        sampler=read_sampler(_file(files["dit_path"], "scheduler/scheduler_config.json")),
        image_token_id=_image_token(top, files, language.vocab_size),
    )  # fmt: skip


def _check_top(top: Fields) -> None:
    unknown = {key for key in top.values if not key.startswith(known.TRAINING_PREFIXES)}
    Fields({key: top.values[key] for key in top.values if key in unknown}, top.where).refuse_unknown(
        known.TOP | _READ | frozenset(SUBMODELS)
    )
    if top.text("model_type") == "unilip_vae_internvl":
        raise ConfigError(
            f"{top.where}: model_type='unilip_vae_internvl' is an intermediate of training, "
            "without query decoder; use the unified checkpoint made from it"
        )
    top.only("model_type", *_MODELS)
    top.only("tie_word_embeddings", False)
    top.only("downsample_ratio", 0.5)
    top.only("vision_feature_layer", -1)
    top.only("select_layer", -1)
    top.only("ps_version", "v2")
    top.only("vision_feature_select_strategy", "default")
    top.only("projector_hidden_act", "gelu")


def _submodel(directory: Path, named: str | None) -> Path | None:
    """The directory below the checkpoint that a `*_path` names; None for a label, such as a path of another machine."""
    if not named or PurePath(named).is_absolute() or ".." in PurePath(named).parts:
        return None
    found = directory / named
    return found if found.is_dir() else None


def _file(directory: Path | None, name: str) -> Fields | None:
    path = directory / name if directory else None
    return Fields(load_json(path), str(path)) if path and path.is_file() else None


def _all(top: Fields, files: dict[str, Path | None], keys: tuple[str, ...], read) -> list[tuple[str, dict[str, Any]]]:
    """Every description of one part, the checkpoint's own first, as (where, fields)."""
    holders = (top, *filter(None, (_file(files[path], "config.json") for path in ("mllm_hf_path", "mllm_path"))))
    found = (holder.sub(key) for holder in holders for key in keys)
    return [(fields.where, read(fields)) for fields in found if fields is not None]


def _first(found: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return found[0][1] if found else {}


def _same(found: list[tuple[str, dict[str, Any]]], made: object, keys: dict[str, str]) -> None:
    """The sub-models that the checkpoint carries must describe the same model as its own config.json."""
    for where, given in found[1:]:
        for name, key in keys.items():
            if given[name] is not None and given[name] != getattr(made, name):
                raise ConfigError(
                    f"{where}: {key}={given[name]}, but {found[0][0]} gives {getattr(made, name)}; make them equal"
                )


def _nearest(told_language: dict[str, Any], told_dit: dict[str, Any]) -> ModelConfig | None:
    """A preset of the same geometry, its SPAR form; the vocabulary may differ."""
    for name in presets():
        found = preset(name)
        parts = ((found.language, told_language, ("width", "depth", "mlp_width")), (found.dit, told_dit, told_dit))
        if all(
            told[field] == getattr(part, field) for part, told, fields in parts for field in fields if field in told
        ):
            return found
    return None


def _count(top: Fields, key: str, told: int | None, base: int | None) -> int:
    given = top.whole(key)
    agree(top.where, key, given, told)
    value = given or told or base
    if value is None:
        raise ConfigError(f"{top.where}: lacks {key!r}; add it")
    return value


def _router(top: Fields, tensors: Mapping[str, tuple[int, ...]]) -> RouterConfig | None:
    enabled, present = top.flag("enable_dynamic_routing"), detect.has(tensors, detect.ROUTER)
    given = {"picks": top.whole("routing_num_layers"), "temperature": top.number("routing_temperature")}
    if enabled is not None and enabled != present and tensors:
        raise ConfigError(
            f"{top.where}: enable_dynamic_routing={str(enabled).lower()}, but the checkpoint has "
            f"{'' if present else 'no '}tensors `{detect.ROUTER}*`; correct the one that is wrong"
        )
    if not present:
        return None
    return merge(RouterConfig, top.where, {"picks": "routing_num_layers"}, given, detect.router(tensors), None,
                 checked=("picks",))  # fmt: skip


def _streams(
    top: Fields, tensors: Mapping[str, tuple[int, ...]], width: int, base: ModelConfig | None
) -> StreamsConfig:
    given, present = top.flag("use_dual_stream"), detect.has(tensors, detect.PIXEL)
    if given is not None and given != present:
        raise ConfigError(
            f"{top.where}: use_dual_stream={str(given).lower()}, but the checkpoint has "
            f"{'' if present else 'no '}tensors `{detect.PIXEL}*`; correct the one that is wrong"
        )
    told = detect.streams(tensors)
    if not present:
        return StreamsConfig(**told)
    ratio = top.number("dual_stream_mlp_ratio")
    keys = {"pixel_depth": "dual_stream_num_layers", "pixel_heads": "dual_stream_num_heads",
            "pixel_mlp_width": "dual_stream_mlp_ratio"}  # fmt: skip
    fields = {"pixel_depth": top.whole("dual_stream_num_layers"), "pixel_heads": top.whole("dual_stream_num_heads"),
              "pixel_mlp_width": None if ratio is None else int(width * ratio)}  # fmt: skip
    made = merge(StreamsConfig, top.where, keys, fields, told, None, checked=("pixel_depth",))
    if width % made.pixel_heads:
        raise ConfigError(
            f"{top.where}: dual_stream_num_heads={made.pixel_heads} does not divide the width {width}; "
            "set the number of heads the pixel transformer was trained with"
        )
    return made


def _latent_scale(top: Fields, tensors: Mapping[str, tuple[int, ...]], streams: StreamsConfig,
                  base: ModelConfig | None) -> float:  # fmt: skip
    given = top.number("unilip_factor")
    if given is not None:
        return given
    if not detect.has(tensors, detect.DIT):
        return base.latent_scale if base else 1.0  # nothing reads it without a DiT
    if base is None or streams.dual:  # the published factors belong to the single-stream tokenizers (spec 11.4)
        raise ConfigError(
            f"{top.where}: lacks 'unilip_factor', the scale between tokenizer and DiT latents; add the "
            "value of the training run"
        )
    return base.latent_scale


def _image_token(top: Fields, files: dict[str, Path | None], vocab_size: int) -> int:
    hf = _file(files["mllm_hf_path"], "config.json")
    given = top.whole("image_token_id", hf.whole("image_token_id") if hf else None, least=0)
    value = ModelConfig.__dataclass_fields__["image_token_id"].default if given is None else given
    if value >= vocab_size:
        raise ConfigError(
            f"{top.where}: image_token_id={value} is outside the vocabulary of {vocab_size}; "
            "set the id of <IMG_CONTEXT>"
        )
    return value


def _label(top: Fields, streams: StreamsConfig, router: RouterConfig | None, base: ModelConfig | None) -> str:
    family = "spar" if streams.dual or router is not None else "unilip"
    named = PurePath(top.text("_name_or_path") or "").name
    return f"{family}-{base.name.split('-', 1)[1]}" if base and base.vision.width == 1024 else named or family
