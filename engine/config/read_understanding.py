"""Readers of the understanding half: language model and vision tower, in the forms of several writers."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import known
from .jsonfile import Fields, shown
from .merge import agree, merge, numbers
from .understanding import LanguageConfig, VisionConfig

LANGUAGE_KEYS = {
    "vocab_size": "vocab_size", "width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "mlp_width": "intermediate_size", "rope_theta": "rope_theta",
    "eps": "rms_norm_eps", "max_positions": "max_position_embeddings",
}  # fmt: skip
VISION_KEYS = {
    "width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
    "mlp_width": "intermediate_size", "image_size": "image_size", "patch_size": "patch_size", "eps": "layer_norm_eps",
}  # fmt: skip


def language_fields(fields: Fields) -> dict[str, Any]:
    """LanguageConfig fields of a Qwen2 configuration; what Qwen2 can do and this family does not is refused."""
    fields.refuse_unknown(known.TEXT | {*LANGUAGE_KEYS.values(), "hidden_act", "use_sliding_window", "rope_scaling",
                                        "rope_parameters", "layer_types", "head_dim", "attention_bias",
                                        "moe_config"})  # fmt: skip
    fields.only("hidden_act", "silu")
    fields.only("use_sliding_window", False)
    fields.only("attention_bias", True)
    fields.only("moe_config")
    given = numbers(fields, LANGUAGE_KEYS)
    for entry in filter(None, (fields.sub("rope_scaling"), fields.sub("rope_parameters"))):
        for key in ("type", "rope_type"):
            entry.only(key, "dynamic", "default")
        given["rope_theta"] = entry.number("rope_theta", given["rope_theta"])
    layer_types = fields.values.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise ConfigError(
            f"{fields.where}: layer_types={shown(layer_types)} is not supported; all must be 'full_attention'"
        )
    head_dim = fields.whole("head_dim")
    if head_dim and given["width"] and given["heads"]:
        agree(fields.where, "head_dim", head_dim, given["width"] // given["heads"])
    return given


def vision_fields(fields: Fields) -> dict[str, Any]:
    """VisionConfig fields of an InternViT configuration in InternVL's own or the Hugging Face port's form."""
    fields.refuse_unknown(known.VISION | {*VISION_KEYS.values(), "hidden_act", "norm_type", "use_qk_norm",
                                          "qk_normalization", "attention_bias", "qkv_bias", "num_channels",
                                          "use_absolute_position_embeddings", "use_mask_token", "use_moe"})  # fmt: skip
    fields.only("hidden_act", "gelu")
    fields.only("norm_type", "layer_norm")
    fields.only("use_qk_norm", False)
    fields.only("qk_normalization", False)
    fields.only("attention_bias", True)
    fields.only("qkv_bias", True)
    fields.only("num_channels", 3)
    fields.only("use_absolute_position_embeddings", True)
    fields.only("use_mask_token", False)
    fields.only("use_moe", False)
    sides = {"image_size": fields.square("image_size"), "patch_size": fields.square("patch_size")}
    return numbers(fields, {name: key for name, key in VISION_KEYS.items() if name not in sides}) | sides


def read_vision(given: dict[str, Any], told: dict[str, Any], base: VisionConfig | None, where: str) -> VisionConfig:
    return merge(VisionConfig, where, VISION_KEYS, given, told, base, checked=("depth",))


def read_language(
    given: dict[str, Any], told: dict[str, Any], base: LanguageConfig | None, where: str
) -> LanguageConfig:
    return merge(LanguageConfig, where, LANGUAGE_KEYS, given, told, base, checked=("vocab_size", "depth"))
