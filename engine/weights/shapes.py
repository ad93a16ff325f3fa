"""Names and shapes of the parameters of each part (spec 7.2, 7.3), in the order in which the part uses them."""

from __future__ import annotations

from ..config import DecoderConfig, DiTConfig, LanguageConfig, StreamsConfig, VisionConfig

Shapes = dict[str, tuple[int, ...]]


def affine(prefix: str, *shape: int) -> Shapes:
    """Weight of `shape` and a bias as long as its first axis."""
    return {f"{prefix}.weight": shape, f"{prefix}.bias": shape[:1]}


def vision(config: VisionConfig, hidden: int) -> Shapes:
    width, tower = config.width, "model.vision_tower."
    found: Shapes = {
        f"{tower}embeddings.class_embedding": (1, 1, width),
        f"{tower}embeddings.position_embedding": (1, 1 + config.grid**2, width),
        **affine(f"{tower}embeddings.patch_embedding", width, 3, config.patch_size, config.patch_size),
    }
    for index in range(config.depth):
        layer = f"{tower}encoder.layers.{index}."
        found |= affine(f"{layer}norm1", width) | affine(f"{layer}attn.qkv", 3 * width, width)
        found |= affine(f"{layer}attn.proj", width, width) | {f"{layer}ls1": (width,)}
        found |= affine(f"{layer}norm2", width) | affine(f"{layer}mlp.fc1", config.mlp_width, width)
        found |= affine(f"{layer}mlp.fc2", width, config.mlp_width) | {f"{layer}ls2": (width,)}
    projector = "model.multi_modal_projector."
    found |= affine(f"{projector}0", 4 * width)
    return found | affine(f"{projector}1", hidden, 4 * width) | affine(f"{projector}3", hidden, hidden)


def qwen2(prefix: str, config: LanguageConfig, depth: int) -> Shapes:
    """Layers and final norm of the language model or of the connector."""
    width, keys = config.width, config.kv_heads * config.head_dim
    found: Shapes = {}
    for index in range(depth):
        layer = f"{prefix}layers.{index}."
        found |= {f"{layer}input_layernorm.weight": (width,)}
        found |= affine(f"{layer}self_attn.q_proj", width, width)
        found |= affine(f"{layer}self_attn.k_proj", keys, width) | affine(f"{layer}self_attn.v_proj", keys, width)
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
    found = affine(f"{prefix}router.0", width // 2, width) | affine(f"{prefix}router.2", picks, width // 2)
    found |= {f"{prefix}layer_scales": (picks,)} | affine(f"{prefix}out_norm", width)
    return found | affine(f"{prefix}proj", width, width)


def dit(config: DiTConfig) -> Shapes:
    width, prefix = config.width, "model.dit."
    embedder = f"{prefix}time_embed.emb.timestep_embedder."
    found = affine(f"{prefix}patch_embed.proj", width, config.in_channels, config.patch_size, config.patch_size)
    found |= affine(f"{embedder}linear_1", width, 256) | affine(f"{embedder}linear_2", width, width)
    found |= affine(f"{prefix}time_embed.linear", 6 * width, width)
    found |= affine(f"{prefix}caption_projection.linear_1", width, config.caption_width)
    found |= affine(f"{prefix}caption_projection.linear_2", width, width)
    found |= {f"{prefix}caption_norm.weight": (width,)}
    for index in range(config.depth):
        block = f"{prefix}transformer_blocks.{index}."
        found[f"{block}scale_shift_table"] = (6, width)
        found |= {f"{block}attn1.to_{which}.weight": (width, width) for which in "qkv"}
        found |= affine(f"{block}attn1.to_out.0", width, width)
        for which in ("to_q", "to_k", "to_v", "to_out.0"):
            found |= affine(f"{block}attn2.{which}", width, width)
        found |= _glumb(f"{block}ff.", width, config.mlp_width)
    found[f"{prefix}scale_shift_table"] = (2, width)
    return found | affine(f"{prefix}proj_out", config.out_channels, width)


def _glumb(prefix: str, width: int, hidden: int) -> Shapes:
    """Gated convolution feed-forward; the last one has no bias."""
    return {
        **affine(f"{prefix}conv_inverted", 2 * hidden, width, 1, 1),
        **affine(f"{prefix}conv_depth", 2 * hidden, 1, 3, 3),
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
        found |= affine(f"{layer}self_attn.out_proj", width, width)
        found |= affine(f"{layer}linear1", config.pixel_mlp_width, width)
        found |= affine(f"{layer}linear2", width, config.pixel_mlp_width)
        found |= affine(f"{layer}norm1", width) | affine(f"{layer}norm2", width)
    for stream in ("semantic_", "pixel_"):
        found |= _stream(f"{prefix}{stream}", config.blocks, width, channels)
    both = 2 * channels
    found |= affine(f"{prefix}fusion_layer.0", both) | affine(f"{prefix}fusion_layer.1", both, both)
    return found | affine(f"{prefix}fusion_layer.3", channels, both)


def _stream(prefix: str, blocks: int, width: int, channels: int) -> Shapes:
    found: Shapes = {}
    for index in range(blocks):
        block = f"{prefix}down_blocks.{index}.mlp."
        found |= affine(f"{block}0", width) | affine(f"{block}1", width, width) | affine(f"{block}3", width, width)
    found |= affine(f"{prefix}down_mlp.0", width) | affine(f"{prefix}down_mlp.1", channels, width)
    return found | affine(f"{prefix}down_mlp.3", channels, channels)


def decoder(config: DecoderConfig) -> Shapes:
    prefix, last = "model.vae_decoder.decoder.", len(config.channels) - 1
    found = affine(f"{prefix}conv_in", config.channels[-1], config.latent_channels, 3, 3)
    for stage in range(last, -1, -1):
        width, up = config.channels[stage], f"{prefix}up_blocks.{stage}."
        first = 0
        if stage < last:
            found |= affine(f"{up}0.conv", width, config.channels[stage + 1], 3, 3)
            first = 1
        for name in (f"{up}{index}." for index in range(first, first + config.depths[stage])):
            if config.attention[stage]:
                found |= _efficient_vit(name, width, config.head_dim, config.scales[stage])
            else:
                found |= affine(f"{name}conv1", width, width, 3, 3)
                found |= {f"{name}conv2.weight": (width, width, 3, 3)} | affine(f"{name}norm", width)
    found |= affine(f"{prefix}norm_out", config.channels[0])
    return found | affine(f"{prefix}conv_out", 3, config.channels[0], 3, 3)


def _efficient_vit(prefix: str, width: int, head_dim: int, scales: tuple[int, ...]) -> Shapes:
    found: Shapes = {f"{prefix}attn.to_{which}.weight": (width, width) for which in "qkv"}
    for index, kernel in enumerate(scales):
        branch = f"{prefix}attn.to_qkv_multiscale.{index}."
        found[f"{branch}proj_in.weight"] = (3 * width, 1, kernel, kernel)
        found[f"{branch}proj_out.weight"] = (3 * width, head_dim, 1, 1)
    found[f"{prefix}attn.to_out.weight"] = (width, (1 + len(scales)) * width)
    found |= affine(f"{prefix}attn.norm_out", width)
    return found | _glumb(f"{prefix}conv_out.", width, 4 * width) | affine(f"{prefix}conv_out.norm", width)
