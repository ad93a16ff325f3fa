"""Reader of the pixel decoder: the configuration of diffusers' AutoencoderDC."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import known
from .generation import DecoderConfig
from .jsonfile import Fields, shown
from .merge import merge

DECODER_KEYS = {
    "channels": "decoder_block_out_channels", "depths": "decoder_layers_per_block", "attention": "decoder_block_types",
    "scales": "decoder_qkv_multiscales", "head_dim": "attention_head_dim", "latent_channels": "latent_channels",
}  # fmt: skip
_BLOCKS = {"ResBlock": False, "EfficientViTBlock": True}


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
        given = _decoder_fields(fields, len(told.get("channels", ())))
    return merge(DecoderConfig, where, DECODER_KEYS, given, told, base, checked=("channels", "depths"))


def _decoder_fields(fields: Fields, stages: int) -> dict[str, Any]:
    """DecoderConfig fields; `stages` of the tensors, 0 when unknown, gives way to those of the channels."""
    channels = _per_stage(fields, "decoder_block_out_channels", 0, int)
    stages = len(channels) if channels else stages
    kinds = _per_stage(fields, "decoder_block_types", stages, str)
    for kind in kinds or ():
        if kind not in _BLOCKS:
            raise ConfigError(f"{fields.where}: decoder_block_types has {shown(kind)}; known are {sorted(_BLOCKS)}")
    attention = None if kinds is None else tuple(_BLOCKS[kind] for kind in kinds)
    scales = _per_stage(fields, "decoder_qkv_multiscales", stages, list)
    if scales is not None:
        if any(type(kernel) is not int or kernel < 1 for stage in scales for kernel in stage):
            raise ConfigError(
                f"{fields.where}: decoder_qkv_multiscales={shown(scales)} must hold lists of kernel sizes"
            )
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
    """One value a stage; a single one stands for all. `stages` is 0 while their number is not known."""
    value = fields.values.get(key)
    if value is None:
        return None
    if kind is not list and type(value) is kind and stages:
        value = [value] * stages
    if not isinstance(value, list) or not value or any(type(item) is not kind for item in value):
        raise ConfigError(f"{fields.where}: {key}={shown(value)} must be a list with one {kind.__name__} a stage")
    if stages and len(value) != stages:
        raise ConfigError(f"{fields.where}: {key} has {len(value)} entries, the decoder {stages} stages")
    return tuple(value)
