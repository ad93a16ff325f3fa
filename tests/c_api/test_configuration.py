"""What the C library reads from checkpoint directories, against the Python package; its tables, made anew."""

import importlib.util
import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from c_api_probing import Refused
from spar_engine.backends.native import describe
from spar_engine.errors import SparError
from spar_engine.weights import Checkpoint
from spar_engine.weights.writer import write_safetensors

ROOT = Path(__file__).parents[2]


def described(config) -> dict[str, list[float]]:
    """As the `config` command of the probe tells it."""
    numbers, lists = describe(config)
    found = {name: [value] for name, value in numbers.items()} | {name: list(values) for name, values in lists.items()}
    sampler = config.sampler
    return found | {
        "latent_scale": [config.latent_scale], "guidance_scale": [config.guidance_scale],
        "query_count": [config.query_count],
        "image_token_id": [config.image_token_id],
        "sampler": [sampler.kind == "euler", sampler.shift, sampler.train_steps],
    }  # fmt: skip


def told(text: bytes) -> tuple[str, dict[str, list[float]]]:
    lines = dict(line.split(" ", 1) for line in text.decode().splitlines())
    return lines.pop("name"), {
        name: [float(value) for value in values.strip("[]").split()] for name, values in lines.items()
    }


@pytest.mark.parametrize("name", ["nano", "spar-tiny", "unilip-tiny"])
def test_configurations(probe, nano, golden, name):
    directory = nano if name == "nano" else golden(f"{name}/checkpoint")
    config = Checkpoint.open(directory).config
    label, found = told(probe.one("config", str(directory)))
    want = described(config)
    assert label == config.name
    assert {key: found[key] for key in want} == want


def copied(nano: Path, to: Path) -> Path:
    """The bundled checkpoint with the weights as a link."""
    shutil.copytree(nano, to, ignore=shutil.ignore_patterns("*.safetensors"))
    (to / "model.safetensors").symlink_to(nano / "model.safetensors")
    return to


def changed(path: Path, **values) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (content | values).items() if value != "absent"}))


GOOD = [
    ("config.json", {"vision_config": "absent", "text_config": "absent"}),
    ("config.json", {"mm_anything": 3, "dit_pos_embed": "none"}),
    ("config.json", {"image_token_id": "absent", "guidance_scale": 2}),
    ("config.json", {"_name_or_path": "/somewhere/else/mine/"}),
    ("config.json", {"vae_path": "../elsewhere"}),
    ("dit/transformer/config.json", {"mlp_ratio": "absent", "interpolation_scale": 1.0}),
    ("dit/scheduler/scheduler_config.json", {"lambda_min_clipped": float("-inf"), "num_train_timesteps": 700}),
    ("vae/config.json", {"decoder_layers_per_block": 1, "decoder_act_fns": ["silu"] * 6}),
]
BAD = [
    ("config.json", {"n_qery": 3}), ("config.json", {"n_query": 17}), ("config.json", {"n_query": "16"}),
    ("config.json", {"n_query": 16.0}), ("config.json", {"n_query": True}), ("config.json", {"unified_factor": 1}),
    ("config.json", {"unilip_factor": "absent"}), ("config.json", {"unilip_factor": float("nan")}),
    ("config.json", {"unilip_factor": 0}),
    ("config.json", {"guidance_scale": "4"}), ("config.json", {"enable_dynamic_routing": False}),
    ("config.json", {"routing_num_layers": 9}), ("config.json", {"use_dual_stream": False}),
    ("config.json", {"image_seq_length": 17}), ("config.json", {"image_token_id": 728}),
    ("config.json", {"model_type": "llama"}),
    ("config.json", {"model_type": "unilip_vae_internvl"}),
    ("config.json", {"dit_pos_embed": "learned"}), ("config.json", {"text_config": 3}),
    ("config.json", {"connect_layer": 10**30}), ("config.json", {"dit_path": "/elsewhere"}),
    ("config.json", {"dual_stream_mlp_ratio": 1e300}),
    ("mllm/config.json", {"vision_config": {"hidden_size": 64}}),
    ("mllm/config.json", {"vision_config": {"norm_type": "rms"}}),
    ("dit/transformer/config.json", {"num_layers": 8}),
    ("dit/transformer/config.json", {"attention_head_dim": 2**52, "num_attention_heads": 2**52}),
    ("dit/transformer/config.json", {"cross_attention_dim": 191}), ("dit/transformer/config.json", {"patch_size": 2}),
    ("dit/scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}),
    ("dit/scheduler/scheduler_config.json", {"flow_shift": "absent"}),
    ("dit/scheduler/scheduler_config.json", {"use_flow_sigmas": "absent"}),
    ("dit/scheduler/scheduler_config.json", {"solver_order": 3}),
    ("vae/config.json", {"decoder_block_types": ["ResBlock"] * 5}), ("vae/config.json", {"latent_channels": 16}),
    ("vae/config.json", {"decoder_qkv_multiscales": [[], [], [], [], [4], [5]]}),
    ("vae/config.json", {"decoder_norm_types": "layer_norm"}),
]  # fmt: skip


def opened(folder: Path):
    """The configuration that Python reads, or None."""
    try:
        return Checkpoint.open(folder).config
    except SparError:
        return None


def test_changed_configurations(probe, nano, tmp_path):
    """What one of the two reads, the other reads equally; what one refuses, so does the other."""
    folders = []
    for number, (file, values) in enumerate(GOOD + BAD):
        folder = copied(nano, tmp_path / str(number))
        changed(folder / file, **values)
        folders.append(folder)
    answers = probe.all("config", [str(folder).encode() for folder in folders])
    for folder, case, found in zip(folders, GOOD + BAD, answers, strict=True):
        config = opened(folder)
        assert (config is not None) == (case in GOOD), case
        if config is None:
            assert isinstance(found, Refused), case
            assert len(str(found)) < 1500
            continue
        assert not isinstance(found, Refused), (case, found)
        label, numbers = told(found)
        want = described(config)
        assert label == config.name
        assert {key: numbers[key] for key in want} == want, case


PORTED = (
    (r"embeddings\.class_embedding$", "embeddings.cls_token"),
    (r"encoder\.layers\.(\d+)\.norm1\.", r"encoder.layer.\1.layernorm_before."),
    (r"encoder\.layers\.(\d+)\.ls([12])$", r"encoder.layer.\1.lambda_\2"),
    (r"encoder\.layers\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.projection_layer."),
)


def as_ported(name, tensor):
    """A parameter under the names that the Hugging Face port gives it, q, k and v apart."""
    if match := re.fullmatch(r"model\.vision_tower\.encoder\.layers\.(\d+)\.attn\.qkv\.(\w+)", name):
        at = f"vision_tower.encoder.layer.{match[1]}.attention"
        return {f"{at}.{which}_proj.{match[2]}": part for which, part in zip("qkv", np.split(tensor, 3), strict=True)}
    if name.startswith("model.vision_tower."):
        for ours, theirs in PORTED:
            name = re.sub(ours, theirs, name)
    return {name: tensor}


def test_shards_in_the_names_of_another_writer(probe, library, nano, tmp_path):
    folder, checkpoint, placed = tmp_path / "shards", Checkpoint.open(nano), {}
    shutil.copytree(nano, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    shards = {"model-0.safetensors": [], "model-1.safetensors": []}
    for name in checkpoint.names():
        dtype, file = checkpoint.info(name).dtype, f"model-{int(name.startswith('model.dit.'))}.safetensors"
        for piece, tensor in as_ported(name, checkpoint.raw(name)).items():
            shards[file].append((piece, dtype, tensor.shape, lambda tensor=tensor: tensor))
            placed[piece] = file
    for file, items in shards.items():
        write_safetensors(folder / file, items)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    assert len(placed) > len(checkpoint.names())
    assert probe.one("config", str(folder)) == probe.one("config", str(nano))
    picture = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    engines = [library.load(path) for path in (nano, folder)]
    assert np.array_equal(*(engine.reconstruct(picture) for engine in engines))
    for engine in engines:
        engine.close()


def test_tables_are_up_to_date(tmp_path):
    """Those of Unicode only where Python has the version that they were made with."""
    spec = importlib.util.spec_from_file_location("c_api_generate", ROOT / "csrc/c_api/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    tables = ROOT / "csrc/c_api/tables"
    assert (tables / "known_keys.h").read_text() == generate.keys_table()
    assert (tables / "presets.h").read_text() == generate.presets_table()
    kept = (tables / "unicode.h").read_text()
    if f"Unicode {unicodedata.unidata_version} " in kept:
        assert kept == generate.unicode_table()


def test_header_is_c(tmp_path):
    """C99 and C++, without a warning."""
    for compiler, standard, name in (("cc", "c99", "x.c"), ("g++", "c++11", "x.cpp")):
        if not shutil.which(compiler):
            pytest.skip(f"there is no {compiler}")
        (tmp_path / name).write_text('#include "spar.h"\nint main(void) { return spar_version() == 0; }\n')
        done = subprocess.run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic",
                               f"-I{ROOT / 'csrc/include'}", "-c", name], cwd=tmp_path, capture_output=True,
                              text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
