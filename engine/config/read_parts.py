"""Readers of the parts of a model: language, vision, DiT, decoder and sampler configurations of Hugging Face files."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import known
from .jsonfile import Fields
from .merge import agree, merge
from .model import DecoderConfig, DiTConfig, LanguageConfig, SamplerConfig, VisionConfig

LANGUAGE_KEYS = {
    "vocab_size": "vocab_size", "width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "mlp_width": "intermediate_size", "rope_theta": "rope_theta",
    "eps": "rms_norm_eps", "max_positions": "max_position_embeddings",
}  # fmt: skip
VISION_KEYS = {
    "width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads",
    "mlp_width": "intermediate_size", "image_size": "image_size", "patch_size": "patch_size", "eps": "layer_norm_eps",
}  # fmt: skip
DIT_KEYS = {
    "depth": "num_layers", "heads": "num_attention_heads", "head_dim": "attention_head_dim",
    "cross_heads": "num_cross_attention_heads", "cross_head_dim": "cross_attention_head_dim",
    "caption_width": "caption_channels", "sample_size": "sample_size", "mlp_ratio": "mlp_ratio",
    "in_channels": "in_channels", "out_channels": "out_channels", "patch_size": "patch_size", "eps": "norm_eps",
}  # fmt: skip
DECODER_KEYS = {
    "channels": "decoder_block_out_channels", "depths": "decoder_layers_per_block", "attention": "decoder_block_types",
    "scales": "decoder_qkv_multiscales", "head_dim": "attention_head_dim", "latent_channels": "latent_channels",
}  # fmt: skip
_NUMBERS = ("rope_theta", "eps", "mlp_ratio")
_BLOCKS = {"ResBlock": False, "EfficientViTBlock": True}


def _numbers(fields: Fields, keys: dict[str, str]) -> dict[str, Any]:
    """Every field of `keys`: a number where the model wants one, else a whole number."""
    return {name: (fields.number if name in _NUMBERS else fields.whole)(key) for name, key in keys.items()}


def language_fields(fields: Fields) -> dict[str, Any]:
    """LanguageConfig fields of a Qwen2 configuration; what Qwen2 can do and this family does not is refused."""
    fields.refuse_unknown(known.TEXT | {*LANGUAGE_KEYS.values(), "hidden_act", "use_sliding_window", "rope_scaling",
                                        "rope_parameters", "layer_types", "head_dim", "attention_bias"})  # fmt: skip
    fields.only("hidden_act", "silu")
    fields.only("use_sliding_window", False)
    fields.only("attention_bias", True)
    given = _numbers(fields, LANGUAGE_KEYS)
    for entry in filter(None, (fields.sub("rope_scaling"), fields.sub("rope_parameters"))):
        for key in ("type", "rope_type"):
            entry.only(key, "dynamic", "default")
        given["rope_theta"] = entry.number("rope_theta", given["rope_theta"])
    layer_types = fields.values.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise ConfigError(f"{fields.where}: layer_types={layer_types!r} is not supported; all must be 'full_attention'")
    head_dim = fields.whole("head_dim")
    if head_dim and given["width"] and given["heads"]:
        agree(fields.where, "head_dim", head_dim, given["width"] // given["heads"])
    return given


def vision_fields(fields: Fields) -> dict[str, Any]:
    """VisionConfig fields of an InternViT configuration in InternVL's own or the Hugging Face port's form."""
    fields.refuse_unknown(known.VISION | {*VISION_KEYS.values(), "hidden_act", "norm_type", "use_qk_norm",
                                          "qk_normalization", "attention_bias", "qkv_bias", "num_channels",
                                          "use_absolute_position_embeddings", "use_mask_token"})  # fmt: skip
    fields.only("hidden_act", "gelu")
    fields.only("norm_type", "layer_norm")
    fields.only("use_qk_norm", False)
    fields.only("qk_normalization", False)
    fields.only("attention_bias", True)
    fields.only("qkv_bias", True)
    fields.only("num_channels", 3)
    fields.only("use_absolute_position_embeddings", True)
    fields.only("use_mask_token", False)
    sides = {"image_size": fields.square("image_size"), "patch_size": fields.square("patch_size")}
    return _numbers(fields, {name: key for name, key in VISION_KEYS.items() if name not in sides}) | sides


def read_dit(
    fields: Fields | None, told: dict[str, Any], base: DiTConfig | None, where: str, position: str
) -> DiTConfig:
    """DiTConfig of a SanaTransformer2DModel configuration; `position` is the setting for its position table."""
    given: dict[str, Any] = {}
    if fields is not None:
        where = fields.where
        fields.refuse_unknown(known.DIT | {*DIT_KEYS.values(), "attention_bias", "cross_attention_dim",
                                           "norm_elementwise_affine", "interpolation_scale", "guidance_embeds",
                                           "guidance_embeds_scale", "qk_norm", "timestep_scale"})  # fmt: skip
        fields.only("_class_name", "SanaTransformer2DModel")
        fields.only("attention_bias", False)
        fields.only("norm_elementwise_affine", False)
        fields.only("interpolation_scale", 1, 1.0)
        fields.only("guidance_embeds", False)
        fields.only("qk_norm")
        fields.only("timestep_scale", 1.0, 1)
        given = _numbers(fields, DIT_KEYS)
    made = merge(DiTConfig, where, DIT_KEYS, given | {"position": position}, told, base, checked=("depth",))
    if fields is not None and (cross := fields.whole("cross_attention_dim")) not in (None, made.width):
        raise ConfigError(
            f"{where}: cross_attention_dim={cross} must equal the width, "
            f"num_attention_heads x attention_head_dim = {made.width}"
        )
    return made


def read_decoder(fields: Fields | None, told: dict[str, Any], base: DecoderConfig | None, where: str) -> DecoderConfig:
    """DecoderConfig of an AutoencoderDC configuration; its encoder half is not looked at."""
    given: dict[str, Any] = {}
    if fields is not None:
        where = fields.where
        fields.refuse_unknown(known.DECODER | {*DECODER_KEYS.values(), "decoder_act_fns", "decoder_norm_types",
                                               "upsample_block_type", "decoder_in_shortcut",
                                               "decoder_conv_act_fn"})  # fmt: skip
        fields.only("_class_name", "AutoencoderDC")
        fields.only("upsample_block_type", "interpolate")
        fields.only("decoder_in_shortcut", True)
        fields.only("decoder_conv_act_fn", "relu")
        given = _decoder_fields(fields)
    return merge(DecoderConfig, where, DECODER_KEYS, given, told, base)


def _decoder_fields(fields: Fields) -> dict[str, Any]:
    channels = _per_stage(fields, "decoder_block_out_channels", 0, int)
    stages = len(channels or ())
    kinds = _per_stage(fields, "decoder_block_types", stages, str)
    for kind in kinds or ():
        if kind not in _BLOCKS:
            raise ConfigError(f"{fields.where}: decoder_block_types has {kind!r}; known are {sorted(_BLOCKS)}")
    attention = None if kinds is None else tuple(_BLOCKS[kind] for kind in kinds)
    scales = _per_stage(fields, "decoder_qkv_multiscales", stages, list)
    if scales is not None:
        if any(type(kernel) is not int or kernel < 1 for stage in scales for kernel in stage):
            raise ConfigError(f"{fields.where}: decoder_qkv_multiscales={list(scales)} must hold lists of kernel sizes")
        scales = tuple(tuple(stage) if attention is None or attention[index] else ()
                       for index, stage in enumerate(scales))  # fmt: skip
    for key, only in (("decoder_act_fns", "silu"), ("decoder_norm_types", "rms_norm")):
        for value in _per_stage(fields, key, stages, str) or ():
            Fields({key: value}, fields.where).only(key, only)
    return {
        "channels": channels,
        "depths": _per_stage(fields, "decoder_layers_per_block", stages, int),
        "attention": attention,
        "scales": scales,
        "head_dim": fields.whole("attention_head_dim"),
        "latent_channels": fields.whole("latent_channels"),
    }


def _per_stage(fields: Fields, key: str, stages: int, kind: type) -> tuple | None:
    """One value a stage; a single one stands for all."""
    value = fields.values.get(key)
    if value is None:
        return None
    if kind is not list and type(value) is kind and stages:
        value = [value] * stages
    if not isinstance(value, list) or not value or any(type(item) is not kind for item in value):
        raise ConfigError(f"{fields.where}: {key}={value!r} must be a list with one {kind.__name__} a stage")
    return tuple(value)


def read_sampler(fields: Fields | None) -> SamplerConfig:
    """SamplerConfig of a diffusers scheduler; settings that the two samplers of this engine do not have are refused."""
    if fields is None:
        return SamplerConfig()
    steps = fields.whole("num_train_timesteps", 1000)
    for key in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        fields.only(key, False)
    kind = fields.text("_class_name")
    if kind == "FlowMatchEulerDiscreteScheduler":
        fields.refuse_unknown(known.SAMPLER | {
            "num_train_timesteps", "shift", "use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas",
            "use_beta_sigmas", "invert_sigmas", "shift_terminal", "time_shift_type",
            "stochastic_sampling"})  # fmt: skip
        for key in ("use_dynamic_shifting", "invert_sigmas", "stochastic_sampling"):
            fields.only(key, False)
        fields.only("shift_terminal")
        return SamplerConfig(kind="euler", shift=_required(fields, "shift"), train_steps=steps, linspace=True)
    if kind != "DPMSolverMultistepScheduler":
        raise ConfigError(
            f"{fields.where}: _class_name={kind!r} is not supported; this engine has "
            "DPMSolverMultistepScheduler and FlowMatchEulerDiscreteScheduler"
        )
    settings: dict[str, tuple] = {
        "algorithm_type": ("dpmsolver++",), "solver_order": (2,), "solver_type": ("midpoint",),
        "prediction_type": ("flow_prediction",), "use_flow_sigmas": (True,), "final_sigmas_type": ("zero",),
        "lower_order_final": (True,), "euler_at_final": (False,), "thresholding": (False,), "use_lu_lambdas": (False,),
        "rescale_betas_zero_snr": (False,), "lambda_min_clipped": (float("-inf"),),
    }  # fmt: skip
    fields.refuse_unknown(known.SAMPLER | settings.keys() | {"num_train_timesteps", "flow_shift", "use_karras_sigmas",
                                                             "use_exponential_sigmas", "use_beta_sigmas"})  # fmt: skip
    for key, allowed in settings.items():
        fields.only(key, *allowed)
    for key in ("prediction_type", "use_flow_sigmas"):
        if key not in fields:
            raise ConfigError(f"{fields.where}: lacks {key!r}; add it ({settings[key][0]!r} for this family)")
    return SamplerConfig(shift=_required(fields, "flow_shift"), train_steps=steps)


def _required(fields: Fields, key: str) -> float:
    value = fields.number(key)
    if value is None:
        raise ConfigError(f"{fields.where}: lacks {key!r}; add it (3.0 for the published models)")
    return value


def read_vision(given: dict[str, Any], told: dict[str, Any], base: VisionConfig | None, where: str) -> VisionConfig:
    return merge(VisionConfig, where, VISION_KEYS, given, told, base, checked=("depth",))


def read_language(
    given: dict[str, Any], told: dict[str, Any], base: LanguageConfig | None, where: str
) -> LanguageConfig:
    return merge(LanguageConfig, where, LANGUAGE_KEYS, given, told, base, checked=("vocab_size", "depth"))
