"""Configurations of checkpoints: the golden ones' sizes, what is detected, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from spar_engine.config import preset, read_config, to_dict
from spar_engine.config.detect import ratio
from spar_engine.errors import ConfigError, SparError
from spar_engine.weights.schema import expected

# The table "Sizes" of the golden vectors' README.
SIZES = {
    "spar-tiny": {
        "vision": {"width": 64, "depth": 3, "heads": 4, "mlp_width": 160, "image_size": 112, "tokens": 16, "grid": 8},
        "language": {"width": 96, "depth": 8, "heads": 6, "kv_heads": 2, "mlp_width": 208, "rope_theta": 1e6},
        "streams": {"dual": True, "pixel_depth": 2, "pixel_heads": 4, "pixel_mlp_width": 4 * 96},
        "router": {"picks": 4, "temperature": 1.0},
        "dit": {"heads": 4, "head_dim": 32, "depth": 4, "cross_heads": 4, "caption_width": 80, "sample_size": 4},
        "decoder": {"channels": (16, 16, 32, 32, 64, 64), "depths": (1, 1, 1, 1, 1, 2), "head_dim": 8, "upscale": 32},
        "sampler": {"kind": "dpm-solver++", "shift": 3.0},
        "": {"query_count": 16, "connector_depth": 3, "latent_scale": 10.6, "image_token_id": 591, "picture_size": 112},
    },
    "unilip-tiny": {
        "vision": {"width": 48, "depth": 2, "heads": 3, "mlp_width": 128, "image_size": 84, "tokens": 9, "grid": 6},
        "language": {"width": 64, "depth": 5, "heads": 4, "kv_heads": 4, "mlp_width": 160, "rope_theta": 1e4},
        "streams": {"dual": False, "blocks": 3},
        "dit": {"heads": 3, "head_dim": 32, "depth": 3, "cross_heads": 6, "caption_width": 72, "sample_size": 3},
        "decoder": {"channels": (8, 16, 16, 32, 32, 32), "depths": (1, 1, 1, 1, 2, 1), "head_dim": 8, "upscale": 32},
        "sampler": {"kind": "dpm-solver++", "shift": 3.0},
        "": {"query_count": 9, "connector_depth": 2, "latent_scale": 5.85, "image_token_id": 551, "picture_size": 84},
    },
}


@pytest.mark.parametrize("name", SIZES)
def test_golden_sizes(name: str, case):
    held = case(name)
    config = read_config(held.directory, held.shapes)
    for part, fields in SIZES[name].items():
        owner = getattr(config, part) if part else config
        assert {field: getattr(owner, field) for field in fields} == fields
    assert (config.router is None) == (name == "unilip-tiny")
    assert expected(config) == {key: held.shapes[key] for key in expected(config)}
    assert expected(config).keys() == held.shapes.keys()


def test_position_table_is_a_setting(case):
    held = case("spar-tiny")
    assert read_config(held.directory, held.shapes).dit.position == "sincos"
    assert read_config(held.directory, held.shapes, dit_position="none").dit.position == "none"
    held.edit("config.json", "dit_pos_embed", "none")
    assert read_config(held.directory, held.shapes).dit.position == "none"
    assert read_config(held.directory, held.shapes, dit_position="sincos").dit.position == "sincos"
    with pytest.raises(ConfigError, match="position='rotary'"):
        read_config(held.directory, held.shapes, dit_position="rotary")


def test_features_are_detected_where_the_file_is_silent(case):
    """A trained file lacks the dual-stream flag; here every field that the tensors can tell is removed."""
    held = case("spar-tiny")
    whole = read_config(held.directory, held.shapes)
    for key in ("use_dual_stream", "dual_stream_num_layers", "dual_stream_mlp_ratio", "enable_dynamic_routing",
                "routing_num_layers", "routing_temperature", "n_query", "connect_layer", "image_seq_length",
                "text_config.vocab_size", "text_config.num_hidden_layers", "text_config.intermediate_size",
                "vision_config.num_hidden_layers", "vision_config.image_size", "vision_config.patch_size"):  # fmt: skip
        held.edit("config.json", key, ...)
    for key in ("num_layers", "num_attention_heads", "attention_head_dim", "caption_channels", "mlp_ratio"):
        held.edit("dit/transformer/config.json", key, ...)
    for name in ("vae", "mllm", "mllm_hf"):
        (held.directory / name / "config.json").unlink()
    assert read_config(held.directory, held.shapes) == whole


def test_pixel_heads_default_to_sixteen(case):
    held = case("spar-tiny")
    held.edit("config.json", "dual_stream_num_heads", ...)
    assert read_config(held.directory, held.shapes).streams.pixel_heads == 16


def published(name: str) -> dict[str, tuple[int, ...]]:
    return expected(preset(name))


@pytest.mark.parametrize("name", ["spar-1b", "spar-3b", "unilip-1b", "unilip-3b"])
def test_published_sizes_from_labels_and_tensors(name: str, tmp_path):
    """A trained file names its sub-models by paths of another machine; geometry finds the constants."""
    stated = {"model_type": "unilip_internvl", "unilip_factor": preset(name).latent_scale, "n_query": 256,
              "mllm_path": "/elsewhere/InternVL3", "dit_path": "Efficient-Large-Model/Sana",
              "vae_path": "../vae"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(stated))
    assert read_config(tmp_path, published(name)) == preset(name)


def test_tensors_alone():
    """Without any file the geometry of a published model is enough, but for the factor of a dual stream."""
    assert read_config(None, published("unilip-3b")) == preset("unilip-3b")
    with pytest.raises(ConfigError, match="the tensors alone: lacks 'unilip_factor'"):
        read_config(None, published("spar-3b"))
    with pytest.raises(ConfigError, match="lacks 'num_attention_heads'"):
        read_config(None, expected(preset("spar-tiny-random")))


def test_latent_scale_of_a_dual_stream_is_never_guessed(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "unilip_internvl"}')
    with pytest.raises(ConfigError, match="unilip_factor"):
        read_config(tmp_path, published("spar-1b"))
    assert read_config(tmp_path, published("unilip-1b")).latent_scale == 10.6


def test_submodels_outside_the_checkpoint_are_labels(case):
    held = case("spar-tiny")
    for outside in ("..", "../other", str(held.directory / "dit"), "dit/../../x", "\0"):
        held.edit("config.json", "dit_path", outside)
        with pytest.raises(ConfigError, match="dit_path: lacks"):  # not a published size: nothing else to go by
            read_config(held.directory, held.shapes)


def test_euler_scheduler(case):
    held = case("spar-tiny")
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0,
                 "use_dynamic_shifting": False, "base_shift": 0.5, "shift_terminal": None}  # fmt: skip
    (held.directory / "dit/scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    sampler = read_config(held.directory, held.shapes).sampler
    assert (sampler.kind, sampler.shift, sampler.linspace) == ("euler", 1.0, True)


TOP, DIT, VAE = "config.json", "dit/transformer/config.json", "vae/config.json"
SCHEDULER, CHAT = "dit/scheduler/scheduler_config.json", "mllm/config.json"
REFUSED = {
    # unknown keys, with the near match named
    "unknown top key": (TOP, "routing_layers", 4, "unknown key 'routing_layers'; did you mean 'routing_num_layers'"),
    "unknown far key": (TOP, "qqqqqqqq", 4, "unknown key 'qqqqqqqq'"),
    "unknown text key": (TOP, "text_config.hidden_sise", 96, "text_config: unknown key.*did you mean 'hidden_size'"),
    "unknown vision key": (TOP, "vision_config.pach_size", 14, "did you mean 'patch_size'"),
    "unknown dit key": (DIT, "num_layer", 4, "did you mean 'num_layers'"),
    "unknown vae key": (VAE, "latent_chanels", 32, "did you mean 'latent_channels'"),
    "unknown scheduler key": (SCHEDULER, "flow_shfit", 1.0, "did you mean 'flow_shift'"),
    # wrong types and values
    "text for a number": (TOP, "n_query", "16", "n_query='16' must be a whole number"),
    "zero queries": (TOP, "n_query", 0, "n_query=0"),
    "true for a number": (TOP, "connect_layer", True, "connect_layer=True"),
    "number for a flag": (TOP, "enable_dynamic_routing", 1, "enable_dynamic_routing=1 must be true or false"),
    "no factor": (TOP, "unilip_factor", 0, "unilip_factor=0"),
    "guidance not a number": (TOP, "guidance_scale", float("nan"), "guidance_scale=nan"),
    "factor not a number": (TOP, "unilip_factor", float("nan"), "unilip_factor=nan"),
    "factor without end": (TOP, "unilip_factor", 10**400, "unilip_factor=1000"),
    "ratio without end": (TOP, "dual_stream_mlp_ratio", 1e308, "dual_stream_mlp_ratio=1e.308 .* at most 1024"),
    "dit ratio without end": (DIT, "mlp_ratio", 1e308, "mlp_ratio=1e.308"),
    "dit ratio of nothing": (DIT, "mlp_ratio", 1e-9, "mlp_ratio=1e-09"),
    "temperature below zero": (TOP, "routing_temperature", -1.0, "routing_temperature=-1.0"),
    "part is a list": (TOP, "text_config", [1], "text_config: is \\[1\\], not an object"),
    "path is a number": (TOP, "dit_path", 3, "dit_path=3 must be text"),
    "wide picture": (TOP, "vision_config.image_size", [112, 84], "must be square"),
    "token outside": (TOP, "image_token_id", 602, "image_token_id=602"),
    "position": (TOP, "dit_pos_embed", "rope", "position='rope'"),
    "heads do not divide": (TOP, "text_config.num_attention_heads", 7, "width=96 is not a multiple of heads=7"),
    "pixel heads do not divide": (TOP, "dual_stream_num_heads", 7, "dual_stream_num_heads=7"),
    "block type": (VAE, "decoder_block_types", ["ResBlock"] * 5 + ["Mamba"], "'Mamba'; known are"),
    "too few stages": (VAE, "decoder_block_types", ["ResBlock"] * 5, "has 5 entries, the decoder 6 stages"),
    "kernel text": (VAE, "decoder_qkv_multiscales", [[], [], [], ["5"], [5], [5]], "kernel sizes"),
    # what this engine does not compute
    "model type": (TOP, "model_type", "llava", "model_type='llava' is not supported"),
    "first stage": (TOP, "model_type", "unilip_vae_internvl", "intermediate of training"),
    "tied": (TOP, "tie_word_embeddings", True, "tie_word_embeddings=True is not supported"),
    "feature layer": (TOP, "vision_feature_layer", -2, "vision_feature_layer=-2"),
    "pixel shuffle": (TOP, "downsample_ratio", 0.25, "downsample_ratio=0.25"),
    "projector": (TOP, "projector_hidden_act", "relu", "projector_hidden_act='relu'"),
    "text activation": (TOP, "text_config.hidden_act", "gelu", "hidden_act='gelu' is not supported.*'silu'"),
    "rope scaling": (TOP, "text_config.rope_scaling", {"type": "yarn", "factor": 4}, "type='yarn'"),
    "sliding window": (TOP, "text_config.use_sliding_window", True, "use_sliding_window=True"),
    "layer types": (TOP, "text_config.layer_types", ["sliding_attention"], "layer_types"),
    "vision norm": (TOP, "vision_config.norm_type", "rms_norm", "norm_type='rms_norm'"),
    "vision qk norm": (TOP, "vision_config.use_qk_norm", True, "use_qk_norm=True"),
    "vision activation": (TOP, "vision_config.hidden_act", "gelu_new", "hidden_act='gelu_new'"),
    "vision without bias": (TOP, "vision_config.attention_bias", False, "attention_bias=False"),
    "dit bias": (DIT, "attention_bias", True, "attention_bias=True is not supported"),
    "dit norm": (DIT, "norm_elementwise_affine", True, "norm_elementwise_affine=True"),
    "dit patch": (DIT, "patch_size", 2, "patch_size=2"),
    "dit qk norm": (DIT, "qk_norm", "rms_norm", "qk_norm='rms_norm' is not supported; it must be null"),
    "dit guidance": (DIT, "guidance_embeds", True, "guidance_embeds=True"),
    "dit interpolation": (DIT, "interpolation_scale", 2, "interpolation_scale=2"),
    "dit class": (DIT, "_class_name", "FluxTransformer2DModel", "_class_name='FluxTransformer2DModel'"),
    "cross width": (DIT, "cross_attention_dim", 64, "cross_attention_dim=64 must equal the width"),
    "cross heads": (DIT, "num_cross_attention_heads", 3, "num_cross_attention_heads=3"),
    "upsampling": (VAE, "upsample_block_type", "pixel_shuffle", "upsample_block_type='pixel_shuffle'"),
    "decoder norm": (VAE, "decoder_norm_types", "batch_norm", "decoder_norm_types='batch_norm'"),
    "decoder activation": (VAE, "decoder_act_fns", ["silu"] * 5 + ["relu"], "decoder_act_fns='relu'"),
    "scheduler class": (SCHEDULER, "_class_name", "DDIMScheduler", "_class_name='DDIMScheduler'"),
    "solver order": (SCHEDULER, "solver_order", 3, "solver_order=3 is not supported.*2"),
    "algorithm": (SCHEDULER, "algorithm_type", "sde-dpmsolver++", "algorithm_type"),
    "solver type": (SCHEDULER, "solver_type", "heun", "solver_type='heun'"),
    "prediction": (SCHEDULER, "prediction_type", "epsilon", "prediction_type='epsilon'"),
    "prediction absent": (SCHEDULER, "prediction_type", ..., "lacks 'prediction_type'"),
    "shift absent": (SCHEDULER, "flow_shift", ..., "lacks 'flow_shift'"),
    "karras": (SCHEDULER, "use_karras_sigmas", True, "use_karras_sigmas=True"),
    "final": (SCHEDULER, "euler_at_final", True, "euler_at_final=True"),
    "thresholding": (SCHEDULER, "thresholding", True, "thresholding=True"),
    # contradictions
    "K": (TOP, "routing_num_layers", 3, "routing_num_layers=3, but the tensors have 4"),
    "queries": (TOP, "n_query", 256, "n_query=256, but the tensors have 16"),
    "connector": (TOP, "connect_layer", 6, "connect_layer=6, but the tensors have 3"),
    "vocabulary": (TOP, "text_config.vocab_size", 600, "vocab_size=600, but the tensors have 602"),
    "language depth": (TOP, "text_config.num_hidden_layers", 24, "num_hidden_layers=24, but the tensors have 8"),
    "vision depth": (TOP, "vision_config.num_hidden_layers", 24, "num_hidden_layers=24, but the tensors have 3"),
    "dit depth": (DIT, "num_layers", 28, "num_layers=28, but the tensors have 4"),
    "pixel depth": (TOP, "dual_stream_num_layers", 6, "dual_stream_num_layers=6, but the tensors have 2"),
    "decoder depths": (VAE, "decoder_layers_per_block", [3] * 6, "decoder_layers_per_block"),
    "routing off": (TOP, "enable_dynamic_routing", False, "enable_dynamic_routing=false, but .* has tensors"),
    "single stream": (TOP, "use_dual_stream", False, "use_dual_stream=false, but the checkpoint has tensors"),
    "image tokens": (TOP, "image_seq_length", 256, "image_seq_length=256, but"),
    "chat vision": (CHAT, "vision_config.num_attention_heads", 8, "num_attention_heads=8, but .* gives 4"),
    "chat language": (CHAT, "llm_config.rope_theta", 1e4, "rope_theta=10000.0, but .* gives 1000000.0"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault: str, case):
    file, path, value, message = REFUSED[fault]
    held = case("spar-tiny")
    held.edit(file, path, value)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(held.directory, held.shapes)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    if not text.startswith(("router:", "dit:", "model:", "vision:", "language:", "decoder:")):
        assert str(held.directory / file) in text


@pytest.mark.parametrize(("flag", "prefix"), [("enable_dynamic_routing", "dynamic_router"),
                                              ("use_dual_stream", "pixel_transformer")])  # fmt: skip
def test_feature_without_its_tensors(flag: str, prefix: str, case):
    held = case("spar-tiny")
    shapes = {name: shape for name, shape in held.shapes.items() if prefix not in name}
    with pytest.raises(ConfigError, match=f"{flag}=true, but the checkpoint has no tensors"):
        read_config(held.directory, shapes)


def test_k_that_does_not_fit(case):
    held = case("spar-tiny")
    held.edit("config.json", "routing_num_layers", 9)
    shapes = held.shapes | {"model.dynamic_router.router.2.weight": (9, 48)}
    with pytest.raises(ConfigError, match=r"routing_num_layers=9 does not fit a language model of 8 layers.*1 to 8"):
        read_config(held.directory, shapes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "a JSON list"),
        ('"a"', "a JSON str"),
        ('{"n_query": 1, "n_query": 2}', "'n_query' twice"),
        ("[" * 10**5, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_file_that_is_no_configuration(text: str, message: str, case):
    held = case("spar-tiny")
    (held.directory / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(held.directory, held.shapes)


def test_absent_file(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read \(No such file"):
        read_config(tmp_path, {})


def test_stock_fields_of_other_writers_are_known(case):
    """Fields that newer transformers, InternVL and training scripts write, none of which changes inference."""
    held = case("unilip-tiny")
    for key, value in {"dtype": "bfloat16", "mm_projector_type": "x", "repa_loss_weight": 0.5, "freeze_backbone": True,
                       "text_config.layer_types": ["full_attention"] * 5, "text_config.dtype": "bfloat16",
                       "text_config.rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
                       "text_config.head_dim": 16, "vision_config.use_moe": False, "vision_config.num_experts": 8,
                       "text_config.moe_config": None, "_attn_implementation_autoset": True}.items():  # fmt: skip
        held.edit("config.json", key, value)
    assert read_config(held.directory, held.shapes).language.rope_theta == 1e4
    held.edit("config.json", "text_config.head_dim", 32)
    with pytest.raises(ConfigError, match="head_dim=32"):
        read_config(held.directory, held.shapes)


def test_mutated_files_are_read_or_refused(case):
    """Seeded fuzz: any value anywhere in any file gives a model or a one-line SparError."""
    held = case("spar-tiny")
    rng = random.Random(5)
    values = [
        None,
        True,
        0,
        -1,
        1,
        3,
        2**70,
        0.5,
        1e308,
        1e-300,
        float("nan"),
        float("-inf"),
        "",
        "x",
        [],
        [[]],
        [3, 3],
        {},
        {"a": 1},
    ]
    files = {name: (held.directory / name).read_text() for name in (TOP, DIT, VAE, SCHEDULER, CHAT)}
    read, messages = 0, []
    for _ in range(600):
        name = rng.choice(list(files))
        content = json.loads(files[name])
        inner = content
        while True:
            key = rng.choice(list(inner))
            if isinstance(inner[key], dict) and inner[key] and rng.random() < 0.8:
                inner = inner[key]
                continue
            inner[key] = rng.choice(values)
            break
        (held.directory / name).write_text(json.dumps(content))
        try:
            expected(read_config(held.directory, held.shapes))
            read += 1
        except SparError as error:
            messages.append(str(error))
        (held.directory / name).write_text(files[name])
    assert read > 50
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)


def test_ratio_gives_the_width_again():
    assert all(int(ratio(inner, width) * width) == inner for width in range(1, 200) for inner in range(1, 900, 7))


def test_everything_read_is_plain_data(case):
    held = case("unilip-tiny")
    config = read_config(held.directory, held.shapes)
    assert json.loads(json.dumps(to_dict(config)))["language"]["width"] == 64
    assert dataclasses.is_dataclass(config)
