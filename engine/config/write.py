"""Writing a ModelConfig as the family's files: config.json and the four sub-models it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .detect import ratio
from .generation import SamplerConfig
from .model import GUIDANCE_SCALE, ModelConfig
from .read_dit import DIT_KEYS
from .read_understanding import LANGUAGE_KEYS, VISION_KEYS


def write_checkpoint_config(directory: str | Path, config: ModelConfig) -> None:
    """Write config.json, mllm/, mllm_hf/, vae/ and dit/ below `directory`, so that `read_config` gives `config` again.

    errors  ConfigError when the configuration has no form in these files, or they cannot be written
    """
    directory = Path(directory)
    hf = _internvl(config)
    scheduler = _scheduler(config.sampler)
    files = {
        "config.json": _top(config, hf),
        "mllm_hf/config.json": {"architectures": ["InternVLForConditionalGeneration"], "model_type": "internvl", **hf},
        "mllm/config.json": _chat(config),
        "vae/config.json": _decoder(config),
        "dit/transformer/config.json": _dit(config),
        "dit/scheduler/scheduler_config.json": scheduler,
    }
    for name, content in files.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def _named(part: object, keys: dict[str, str]) -> dict[str, Any]:
    return {key: getattr(part, field) for field, key in keys.items()}


def _top(config: ModelConfig, hf: dict[str, Any]) -> dict[str, Any]:
    router, streams = config.router, config.streams
    found = {
        "_name_or_path": config.name,
        "architectures": ["UniLIP_InternVLForCausalLM"],
        "model_type": "unilip_internvl",
        "n_query": config.query_count,
        "connect_layer": config.connector_depth,
        "unilip_factor": config.latent_scale,
        "dit_pos_embed": config.dit.position,
        "enable_dynamic_routing": router is not None,
        "use_dual_stream": streams.dual,
        "mllm_path": "mllm",
        "mllm_hf_path": "mllm_hf",
        "vae_path": "vae",
        "dit_path": "dit",
        "tie_word_embeddings": False,
        **hf,
    }
    if config.guidance_scale != GUIDANCE_SCALE:
        found["guidance_scale"] = config.guidance_scale
    if router is not None:
        found |= {"routing_num_layers": router.picks, "routing_temperature": router.temperature}
    if streams.dual:
        found |= {
            "dual_stream_num_layers": streams.pixel_depth,
            "dual_stream_num_heads": streams.pixel_heads,
            "dual_stream_mlp_ratio": ratio(streams.pixel_mlp_width, config.language.width),
        }
    return found


def _language(config: ModelConfig) -> dict[str, Any]:
    return {"model_type": "qwen2", "hidden_act": "silu", **_named(config.language, LANGUAGE_KEYS)}


def _internvl(config: ModelConfig) -> dict[str, Any]:
    """What the whole model and the Hugging Face port of its understanding half say alike."""
    vision = _named(config.vision, VISION_KEYS)
    sides = {key: [vision[key], vision[key]] for key in ("image_size", "patch_size")}
    return {
        "text_config": _language(config),
        "vision_config": {"model_type": "internvl_vision", "hidden_act": "gelu", "norm_type": "layer_norm",
                          "attention_bias": True, "use_qk_norm": False, **vision, **sides},
        "image_token_id": config.image_token_id,
        "image_seq_length": config.image_tokens,
        "downsample_ratio": 0.5,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
    }  # fmt: skip


def _chat(config: ModelConfig) -> dict[str, Any]:
    """InternVL's own form, from which the original builds the vision tower."""
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "force_image_size": config.vision.image_size,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "llm_config": {"architectures": ["Qwen2ForCausalLM"], **_language(config)},
        "vision_config": {"architectures": ["InternVisionModel"], "model_type": "intern_vit_6b", "hidden_act": "gelu",
                          "norm_type": "layer_norm", "qk_normalization": False, "qkv_bias": True,
                          **_named(config.vision, VISION_KEYS)},
    }  # fmt: skip


def _decoder(config: ModelConfig) -> dict[str, Any]:
    """The encoder half, which nothing uses, is described as the decoder's mirror."""
    decoder = config.decoder
    sides = {
        "block_out_channels": list(decoder.channels),
        "layers_per_block": list(decoder.depths),
        "block_types": ["EfficientViTBlock" if attention else "ResBlock" for attention in decoder.attention],
        "qkv_multiscales": [list(stage) for stage in decoder.scales],
    }
    return {
        "_class_name": "AutoencoderDC",
        "in_channels": 3,
        "latent_channels": decoder.latent_channels,
        "attention_head_dim": decoder.head_dim,
        "decoder_act_fns": "silu",
        "decoder_norm_types": "rms_norm",
        "upsample_block_type": "interpolate",
        "downsample_block_type": "Conv",
        **{f"{half}_{key}": value for half in ("encoder", "decoder") for key, value in sides.items()},
    }


def _dit(config: ModelConfig) -> dict[str, Any]:
    return {
        "_class_name": "SanaTransformer2DModel",
        "attention_bias": False,
        "cross_attention_dim": config.dit.width,
        "dropout": 0.0,
        "interpolation_scale": None,
        "norm_elementwise_affine": False,
        **_named(config.dit, DIT_KEYS),
    }


def _scheduler(config: SamplerConfig) -> dict[str, Any]:
    if config.kind == "euler":
        if not config.linspace:
            raise ConfigError(
                "sampler: kind='euler' with linspace=False has no form in a scheduler_config.json; use linspace=True"
            )
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": config.train_steps,
                "shift": config.shift, "use_dynamic_shifting": False}  # fmt: skip
    return {
        "_class_name": "DPMSolverMultistepScheduler",
        "algorithm_type": "dpmsolver++",
        "euler_at_final": False,
        "final_sigmas_type": "zero",
        "flow_shift": config.shift,
        "lower_order_final": True,
        "num_train_timesteps": config.train_steps,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "midpoint",
        "thresholding": False,
        "use_flow_sigmas": True,
    }
