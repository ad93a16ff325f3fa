"""Every tensor of a model by canonical name, with its shape, and the component that owns it (spec 7.2, 7.3)."""

from __future__ import annotations

from math import prod

from ..config import ModelConfig
from .shapes import Shapes, affine, decoder, dit, qwen2, router, streams, vision

IGNORED = ("model.alignment_projector.",)
"""Prefixes of training-only tensors."""
IGNORED_WORDS = ("regressor",)
"""Words that mark training-only tensors anywhere in a name."""

HOST = ("model.language_model.embed_tokens.weight", "model.latent_queries")
"""Read by the host, not by a component."""


def expected(config: ModelConfig) -> Shapes:
    """Canonical name -> shape of every parameter of the model, in the order of the data flow."""
    width = config.language.width
    found: Shapes = {}
    found |= vision(config.vision, width)
    found["model.language_model.embed_tokens.weight"] = (config.language.vocab_size, width)
    found |= qwen2("model.language_model.", config.language, config.language.depth)
    found["lm_head.weight"] = (config.language.vocab_size, width)
    found["model.latent_queries"] = (1, config.query_count, width)
    if config.router is not None:
        found |= router(width, config.router.picks)
    found |= qwen2("model.llm_connector.", config.language, config.connector_depth)
    found |= affine("model.projector", config.dit.caption_width, width)
    found |= dit(config.dit)
    found |= streams(config.streams, width)
    found |= decoder(config.decoder)
    return found


def component_of(name: str) -> str:
    """Name of the component (`components.py`) whose weights hold the canonical tensor `name`; "host" for the rest."""
    if name in HOST:
        return "host"
    component = next((owner for prefix, owner in _OWNERS if name.startswith(prefix)), None)
    if component is None:
        raise KeyError(name)
    if component != "dit":
        return component
    if name.startswith(("model.dit.caption_", "model.dit.time_embed.")):
        return "context" if ".caption_" in name else "modulation"
    if name.endswith("scale_shift_table"):
        return "modulation"
    # The value bias is part of the step's output bias; the key bias has no effect on anything.
    return "context" if ".attn2.to_k." in name or name.endswith(".attn2.to_v.weight") else "dit"


_OWNERS = (
    ("model.vision_tower.", "vision"),
    ("model.multi_modal_projector.", "vision"),
    ("model.language_model.", "language"),
    ("lm_head.", "lm_head"),
    ("model.dynamic_router.", "condition"),
    ("model.llm_connector.", "condition"),
    ("model.projector.", "condition"),
    ("model.dit.", "dit"),
    ("model.vae_decoder.decoder.", "decoder"),
    ("model.vae_decoder.", "streams"),
)

PARTS = (
    ("vision_tower", "model.vision_tower."),
    ("multi_modal_projector", "model.multi_modal_projector."),
    ("embed_tokens", "model.language_model.embed_tokens."),
    ("language_model", "model.language_model."),
    ("lm_head", "lm_head."),
    ("latent_queries", "model.latent_queries"),
    ("dynamic_router", "model.dynamic_router."),
    ("llm_connector", "model.llm_connector."),
    ("projector", "model.projector."),
    ("dit", "model.dit."),
    ("decoder", "model.vae_decoder.decoder."),
    ("streams", "model.vae_decoder."),
)
"""Modules of the original, by prefix; the first prefix that fits counts."""


def parameters(config: ModelConfig) -> dict[str, int]:
    """Number of parameters of each module of PARTS that the model has, and their "total"."""
    counts: dict[str, int] = {}
    for name, shape in expected(config).items():
        part = next(part for part, prefix in PARTS if name.startswith(prefix))
        counts[part] = counts.get(part, 0) + prod(shape)
    return counts | {"total": sum(counts.values())}


def ignored(name: str) -> bool:
    """True for a training-only tensor, which a checkpoint may hold and inference does not read."""
    return name.startswith(IGNORED) or any(word in name for word in IGNORED_WORDS)
