"""Readers of the fields of `config.json` that describe the generating half: router, queries, connector, streams."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError
from . import detect
from .generation import RouterConfig, StreamsConfig
from .jsonfile import Fields
from .merge import agree, merge
from .model import ModelConfig

Shapes = Mapping[str, tuple[int, ...]]


def read_router(top: Fields, tensors: Shapes) -> RouterConfig | None:
    """The router, when the checkpoint has one. Without a connector to judge by, the file alone decides."""
    enabled, present = top.flag("enable_dynamic_routing"), detect.has(tensors, detect.ROUTER)
    given = {"picks": top.whole("routing_num_layers"), "temperature": top.number("routing_temperature")}
    if detect.has(tensors, detect.CONNECTOR):
        _judge(top, "enable_dynamic_routing", enabled, present, detect.ROUTER)
        enabled = present
    if not (enabled or present):
        return None
    return merge(RouterConfig, top.where, {"picks": "routing_num_layers"}, given, detect.router(tensors), None,
                 checked=("picks",))  # fmt: skip


def read_streams(top: Fields, tensors: Shapes, width: int) -> StreamsConfig:
    """Dual or single is told by the keys (spec 11.2); a field that says otherwise is a contradiction."""
    stated, seen = top.flag("use_dual_stream"), detect.streams(tensors)
    if seen:
        _judge(top, "use_dual_stream", stated, seen["dual"], detect.PIXEL)
    if not seen.get("dual", stated):
        return StreamsConfig(**{"dual": False, **seen})
    keys = {"pixel_depth": "dual_stream_num_layers", "pixel_heads": "dual_stream_num_heads",
            "pixel_mlp_width": "dual_stream_mlp_ratio"}  # fmt: skip
    ratio = top.number("dual_stream_mlp_ratio", None if "pixel_mlp_width" in seen else 4.0, most=1024)
    given = {"dual": True, "pixel_depth": top.whole(keys["pixel_depth"]), "pixel_heads": top.whole(keys["pixel_heads"]),
             "pixel_mlp_width": None if ratio is None else int(width * ratio)}  # fmt: skip
    return merge(StreamsConfig, top.where, keys, given, seen, None, checked=("pixel_depth",))


def _judge(top: Fields, key: str, stated: bool | None, present: bool, prefix: str) -> None:
    if stated is not None and stated != present:
        raise ConfigError(f"{top.where}: {key}={str(stated).lower()}, but the checkpoint has "
                          f"{'' if present else 'no '}tensors `{prefix}*`; correct the one that is wrong")  # fmt: skip


def read_connector_depth(top: Fields, tensors: Shapes, base: ModelConfig | None) -> int:
    told = detect.count(tensors, f"{detect.CONNECTOR}layers.")
    return _count(top, "connect_layer", told, base and base.connector_depth)


def read_query_count(top: Fields, tensors: Shapes, base: ModelConfig | None) -> int:
    return _count(top, "n_query", detect.size(tensors, "model.latent_queries", 1), base and base.query_count)


def _count(top: Fields, key: str, told: int | None, base: int | None) -> int:
    given = top.whole(key)
    agree(top.where, key, given, told)
    value = given or told or base
    if not value:
        raise ConfigError(f"{top.where}: lacks {key!r}; add it")
    return value


def read_latent_scale(top: Fields, tensors: Shapes, streams: StreamsConfig, base: ModelConfig | None) -> float:
    """`unilip_factor`. The published values belong to the single-stream tokenizers (spec 11.4)."""
    given = top.number("unilip_factor")
    if given is not None:
        return given
    if not detect.has(tensors, detect.DIT):
        return base.latent_scale if base else 1.0  # nothing reads it without a DiT
    if base is None or streams.dual:
        raise ConfigError(f"{top.where}: lacks 'unilip_factor', the scale of the DiT's latents; "
                          "add the value of the training run")  # fmt: skip
    return base.latent_scale


def read_image_token(top: Fields, hf: Fields | None) -> int:
    """Id of <IMG_CONTEXT>, from the checkpoint, else from its Hugging Face sub-model, else the family's constant."""
    given = top.whole("image_token_id", hf.whole("image_token_id", least=0) if hf else None, least=0)
    return ModelConfig.__dataclass_fields__["image_token_id"].default if given is None else given
