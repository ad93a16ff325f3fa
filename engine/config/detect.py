"""What the names and shapes of a checkpoint's tensors say about the model (spec 7.2 to 7.4).

Each function takes canonical name -> shape and gives the field values that can be told, or nothing for a part that
the checkpoint does not hold. It never fails: a damaged set of tensors gives a wrong or short answer, and the strict
check of every name and shape that follows says what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

TOWER, LANGUAGE, CONNECTOR = "model.vision_tower.", "model.language_model.", "model.llm_connector."
ROUTER, DIT, AUTOENCODER = "model.dynamic_router.", "model.dit.", "model.vae_decoder."
DECODER, PIXEL = f"{AUTOENCODER}decoder.", f"{AUTOENCODER}pixel_transformer."


def has(shapes: Shapes, prefix: str) -> bool:
    """True when any tensor's name begins with `prefix`."""
    return any(name.startswith(prefix) for name in shapes)


def size(shapes: Shapes, name: str, axis: int) -> int | None:
    """Length of one axis of a tensor; None when there is no such tensor or axis."""
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else None


def count(shapes: Shapes, prefix: str) -> int | None:
    """One more than the largest number that directly follows `prefix` in a name."""
    found = _indices(shapes, prefix)
    return max(found) + 1 if found else None


def _indices(names: Iterable[str], prefix: str) -> set[int]:
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    return {int(match[1]) for name in names if (match := pattern.match(name))}


def _told(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def ratio(inner: int, width: int) -> float:
    """The factor r next to inner / width for which int(r * width) is `inner`; the plain quotient can fall one short."""
    found = inner / width
    return found if int(found * width) == inner else math.nextafter(found, math.inf)


def vision(shapes: Shapes) -> dict[str, int]:
    """VisionConfig fields except heads and eps."""
    patch = size(shapes, f"{TOWER}embeddings.patch_embedding.weight", 3)
    rows = size(shapes, f"{TOWER}embeddings.position_embedding", 1)
    grid = round((rows - 1) ** 0.5) if rows else None
    return _told(
        width=size(shapes, f"{TOWER}embeddings.patch_embedding.weight", 0),
        depth=count(shapes, f"{TOWER}encoder.layers."),
        mlp_width=size(shapes, f"{TOWER}encoder.layers.0.mlp.fc1.weight", 0),
        patch_size=patch,
        image_size=grid * patch if grid and patch else None,
    )


def hidden(shapes: Shapes) -> int | None:
    """Width of the language model, from any part that meets it."""
    return (size(shapes, f"{LANGUAGE}embed_tokens.weight", 1) or size(shapes, "model.latent_queries", 2)
            or size(shapes, "model.multi_modal_projector.3.weight", 0))  # fmt: skip


def language(shapes: Shapes) -> dict[str, int]:
    """LanguageConfig fields except the head counts, rope_theta, eps and max_positions."""
    return _told(
        vocab_size=size(shapes, f"{LANGUAGE}embed_tokens.weight", 0),
        width=hidden(shapes),
        depth=count(shapes, f"{LANGUAGE}layers."),
        mlp_width=size(shapes, f"{LANGUAGE}layers.0.mlp.gate_proj.weight", 0),
    )


def dit(shapes: Shapes) -> dict[str, Any]:
    """DiTConfig fields except the cross-attention heads, sample_size, eps and position; 32 channels a linear head."""
    width = size(shapes, f"{DIT}patch_embed.proj.weight", 0)
    inner = size(shapes, f"{DIT}transformer_blocks.0.ff.conv_point.weight", 1)
    return _told(
        depth=count(shapes, f"{DIT}transformer_blocks."),
        heads=width // 32 if width and width % 32 == 0 else None,
        head_dim=32 if width and width % 32 == 0 else None,
        caption_width=size(shapes, f"{DIT}caption_projection.linear_1.weight", 1),
        mlp_ratio=ratio(inner, width) if inner and width else None,
        in_channels=size(shapes, f"{DIT}patch_embed.proj.weight", 1),
        out_channels=size(shapes, f"{DIT}proj_out.weight", 0),
        patch_size=size(shapes, f"{DIT}patch_embed.proj.weight", 2),
    )


def router(shapes: Shapes) -> dict[str, int]:
    """RouterConfig fields except the temperature."""
    return _told(picks=size(shapes, f"{ROUTER}router.2.weight", 0))


def streams(shapes: Shapes) -> dict[str, Any]:
    """StreamsConfig fields except pixel_heads."""
    if not any(name.startswith(AUTOENCODER) and not name.startswith(DECODER) for name in shapes):
        return {}
    dual = has(shapes, PIXEL)
    stream = f"{AUTOENCODER}semantic_" if dual else AUTOENCODER
    pixel = {}
    if dual:
        pixel = {"pixel_depth": count(shapes, f"{PIXEL}layers."),
                 "pixel_mlp_width": size(shapes, f"{PIXEL}layers.0.linear1.weight", 0)}  # fmt: skip
    return _told(
        dual=dual,
        blocks=count(shapes, f"{stream}down_blocks."),
        latent_channels=size(shapes, f"{stream}down_mlp.3.weight", 0),
        **pixel,
    )


def decoder(shapes: Shapes) -> dict[str, Any]:
    """DecoderConfig fields; head_dim only when a stage has attention."""
    stages = count(shapes, f"{DECODER}up_blocks.") or 0
    channels, depths, attention, scales, head_dim = [], [], [], [], None
    for stage in range(stages):
        up = f"{DECODER}up_blocks.{stage}."
        blocks = count(shapes, up) or 0
        first = 0 if stage == stages - 1 else 1
        depths.append(blocks - first)
        block = f"{up}{first}."
        width = size(shapes, f"{block}attn.to_q.weight", 0)
        attention.append(width is not None)
        channels.append(width or size(shapes, f"{block}conv1.weight", 0) or 0)
        branches = range(count(shapes, f"{block}attn.to_qkv_multiscale.") or 0)
        scales.append(
            tuple(size(shapes, f"{block}attn.to_qkv_multiscale.{i}.proj_in.weight", 2) or 0 for i in branches)
        )
        if branches:
            head_dim = size(shapes, f"{block}attn.to_qkv_multiscale.0.proj_out.weight", 1)
    if not stages:
        return {}
    return _told(
        channels=tuple(channels),
        depths=tuple(depths),
        attention=tuple(attention),
        scales=tuple(scales),
        head_dim=head_dim,
        latent_channels=size(shapes, f"{DECODER}conv_in.weight", 1),
    )
