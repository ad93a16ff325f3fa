"""Every tensor of a model by canonical name, with its shape, and the component that owns it (spec 7.2, 7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..config import DecoderConfig, DiTConfig, LanguageConfig, ModelConfig, StreamsConfig, VisionConfig

Shapes = dict[str, tuple[int, ...]]

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
    found |= _linear("model.projector", config.dit.caption_width, width)
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


def _affine(prefix: str, *shape: int) -> Shapes:
    """Weight of `shape` and a bias as long as its first axis."""
    return {f"{prefix}.weight": shape, f"{prefix}.bias": shape[:1]}


_linear = _affine


def vision(config: VisionConfig, hidden: int) -> Shapes:
    width, tower = config.width, "model.vision_tower."
    found: Shapes = {
        f"{tower}embeddings.class_embedding": (1, 1, width),
        f"{tower}embeddings.position_embedding": (1, 1 + config.grid**2, width),
        **_affine(f"{tower}embeddings.patch_embedding", width, 3, config.patch_size, config.patch_size),
    }
    for index in range(config.depth):
        layer = f"{tower}encoder.layers.{index}."
        found |= _affine(f"{layer}norm1", width) | _linear(f"{layer}attn.qkv", 3 * width, width)
        found |= _linear(f"{layer}attn.proj", width, width) | {f"{layer}ls1": (width,)}
        found |= _affine(f"{layer}norm2", width) | _linear(f"{layer}mlp.fc1", config.mlp_width, width)
        found |= _linear(f"{layer}mlp.fc2", width, config.mlp_width) | {f"{layer}ls2": (width,)}
    projector = "model.multi_modal_projector."
    found |= _affine(f"{projector}0", 4 * width)
    return found | _linear(f"{projector}1", hidden, 4 * width) | _linear(f"{projector}3", hidden, hidden)


def qwen2(prefix: str, config: LanguageConfig, depth: int) -> Shapes:
    """Layers and final norm of the language model or of the connector."""
    width, keys = config.width, config.kv_heads * config.head_dim
    found: Shapes = {}
    for index in range(depth):
        layer = f"{prefix}layers.{index}."
        found |= {f"{layer}input_layernorm.weight": (width,)}
        found |= _linear(f"{layer}self_attn.q_proj", width, width)
        found |= _linear(f"{layer}self_attn.k_proj", keys, width) | _linear(f"{layer}self_attn.v_proj", keys, width)
        found |= {
            f"{layer}self_attn.o_proj.weight": (width, width),
            f"{layer}post_attention_layernorm.weight": (width,),
            f"{layer}mlp.gate_proj.weight": (config.mlp_width, width),
            f"{layer}mlp.up_proj.weight": (config.mlp_width, width),
            f"{layer}mlp.down_proj.weight": (width, config.mlp_width),
        }
    return found | {f"{prefix}norm.weight": (width,)}


def router(width: int, picks: int) -> Shapes:
    prefix = "model.dynamic_router."
    found = _linear(f"{prefix}router.0", width // 2, width) | _linear(f"{prefix}router.2", picks, width // 2)
    found |= {f"{prefix}layer_scales": (picks,)} | _affine(f"{prefix}out_norm", width)
    return found | _linear(f"{prefix}proj", width, width)


def dit(config: DiTConfig) -> Shapes:
    width, prefix = config.width, "model.dit."
    embedder = f"{prefix}time_embed.emb.timestep_embedder."
    found = _affine(f"{prefix}patch_embed.proj", width, config.in_channels, config.patch_size, config.patch_size)
    found |= _linear(f"{embedder}linear_1", width, 256) | _linear(f"{embedder}linear_2", width, width)
    found |= _linear(f"{prefix}time_embed.linear", 6 * width, width)
    found |= _linear(f"{prefix}caption_projection.linear_1", width, config.caption_width)
    found |= _linear(f"{prefix}caption_projection.linear_2", width, width)
    found |= {f"{prefix}caption_norm.weight": (width,)}
    for index in range(config.depth):
        block = f"{prefix}transformer_blocks.{index}."
        found[f"{block}scale_shift_table"] = (6, width)
        found |= {f"{block}attn1.to_{which}.weight": (width, width) for which in "qkv"}
        found |= _linear(f"{block}attn1.to_out.0", width, width)
        for which in ("to_q", "to_k", "to_v", "to_out.0"):
            found |= _linear(f"{block}attn2.{which}", width, width)
        found |= _glumb(f"{block}ff.", width, config.mlp_width)
    found[f"{prefix}scale_shift_table"] = (2, width)
    return found | _linear(f"{prefix}proj_out", config.out_channels, width)


def _glumb(prefix: str, width: int, hidden: int) -> Shapes:
    """Gated convolution feed-forward; the last one has no bias."""
    return {
        **_affine(f"{prefix}conv_inverted", 2 * hidden, width, 1, 1),
        **_affine(f"{prefix}conv_depth", 2 * hidden, 1, 3, 3),
        f"{prefix}conv_point.weight": (width, hidden, 1, 1),
    }


def streams(config: StreamsConfig, width: int) -> Shapes:
    prefix, channels = "model.vae_decoder.", config.latent_channels
    if not config.dual:
        return _stream(f"{prefix}", config.blocks, width, channels)
    found: Shapes = {}
    for index in range(config.pixel_depth):
        layer = f"{prefix}pixel_transformer.layers.{index}."
        found |= {
            f"{layer}self_attn.in_proj_weight": (3 * width, width),
            f"{layer}self_attn.in_proj_bias": (3 * width,),
        }
        found |= _linear(f"{layer}self_attn.out_proj", width, width)
        found |= _linear(f"{layer}linear1", config.pixel_mlp_width, width)
        found |= _linear(f"{layer}linear2", width, config.pixel_mlp_width)
        found |= _affine(f"{layer}norm1", width) | _affine(f"{layer}norm2", width)
    for stream in ("semantic_", "pixel_"):
        found |= _stream(f"{prefix}{stream}", config.blocks, width, channels)
    both = 2 * channels
    found |= _affine(f"{prefix}fusion_layer.0", both) | _linear(f"{prefix}fusion_layer.1", both, both)
    return found | _linear(f"{prefix}fusion_layer.3", channels, both)


def _stream(prefix: str, blocks: int, width: int, channels: int) -> Shapes:
    found: Shapes = {}
    for index in range(blocks):
        block = f"{prefix}down_blocks.{index}.mlp."
        found |= _affine(f"{block}0", width) | _linear(f"{block}1", width, width) | _linear(f"{block}3", width, width)
    found |= _affine(f"{prefix}down_mlp.0", width) | _linear(f"{prefix}down_mlp.1", channels, width)
    return found | _linear(f"{prefix}down_mlp.3", channels, channels)


def decoder(config: DecoderConfig) -> Shapes:
    prefix, last = "model.vae_decoder.decoder.", len(config.channels) - 1
    found = _affine(f"{prefix}conv_in", config.channels[-1], config.latent_channels, 3, 3)
    for stage in range(last, -1, -1):
        width, up = config.channels[stage], f"{prefix}up_blocks.{stage}."
        first = 0
        if stage < last:
            found |= _affine(f"{up}0.conv", width, config.channels[stage + 1], 3, 3)
            first = 1
        for name in _names(f"{up}", first, config.depths[stage]):
            if config.attention[stage]:
                found |= _efficient_vit(name, width, config.head_dim, config.scales[stage])
            else:
                found |= _affine(f"{name}conv1", width, width, 3, 3)
                found |= {f"{name}conv2.weight": (width, width, 3, 3)} | _affine(f"{name}norm", width)
    found |= _affine(f"{prefix}norm_out", config.channels[0])
    return found | _affine(f"{prefix}conv_out", 3, config.channels[0], 3, 3)


def _names(prefix: str, first: int, count: int) -> Iterator[str]:
    return (f"{prefix}{index}." for index in range(first, first + count))


def _efficient_vit(prefix: str, width: int, head_dim: int, scales: tuple[int, ...]) -> Shapes:
    found: Shapes = {f"{prefix}attn.to_{which}.weight": (width, width) for which in "qkv"}
    for index, kernel in enumerate(scales):
        branch = f"{prefix}attn.to_qkv_multiscale.{index}."
        found[f"{branch}proj_in.weight"] = (3 * width, 1, kernel, kernel)
        found[f"{branch}proj_out.weight"] = (3 * width, head_dim, 1, 1)
    found[f"{prefix}attn.to_out.weight"] = (width, (1 + len(scales)) * width)
    found |= _affine(f"{prefix}attn.norm_out", width)
    return found | _glumb(f"{prefix}conv_out.", width, 4 * width) | _affine(f"{prefix}conv_out.norm", width)
