"""Opening checkpoints: whole, sharded, in other layouts, in parts; and every way in which one can be wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from spar_engine.config import preset
from spar_engine.errors import CheckpointError, ConfigError, SparError
from spar_engine.weights import Checkpoint, RandomWeights, write_safetensors
from spar_engine.weights.checkpoint import COMPONENTS

PROJECTOR = "model.projector.weight"


def refused(directory: Path, kind: type[SparError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        Checkpoint.open(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1200
    return message


def test_golden_checkpoints(golden_dir):
    for name in ("spar-tiny", "unilip-tiny"):
        directory = golden_dir(f"{name}/checkpoint")
        checkpoint, stored = Checkpoint.open(directory), load_file(directory / "model.safetensors")
        assert {*checkpoint.names(), *checkpoint.ignored} == stored.keys()
        assert all(name.startswith("model.alignment_projector.") for name in checkpoint.ignored)
        assert len(checkpoint.ignored) == (6 if name == "spar-tiny" else 0)
        for tensor in checkpoint.names():
            assert checkpoint.info(tensor).shape == stored[tensor].shape
            np.testing.assert_array_equal(checkpoint.f32(tensor), stored[tensor])
        assert checkpoint.parts == set(COMPONENTS)
        assert sum(checkpoint.memory().values()) == sum(checkpoint.info(n).nbytes for n in checkpoint.names())
        assert sorted(name for part in (*COMPONENTS, "host") for name in checkpoint.names(part)) == \
            sorted(checkpoint.names())  # fmt: skip
        checkpoint.verify_finite()


def test_any_float_type_per_tensor(tiny, rewrite):
    before = Checkpoint.open(tiny)
    kinds = [("F64", np.float64), ("F16", np.float16), ("BF16", ml_dtypes.bfloat16), ("F32", np.float32),
             ("F8_E4M3", ml_dtypes.float8_e4m3fn), ("F8_E5M2", ml_dtypes.float8_e5m2)]  # fmt: skip
    values = {}

    def change(tensors: dict) -> None:
        for index, (name, (_, array)) in enumerate(sorted(tensors.items())):
            label, kind = kinds[index % len(kinds)]
            cast = array.astype(kind)
            values[name] = cast.astype(np.float32)
            width = {"BF16": np.uint16, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8}.get(label, kind)
            tensors[name] = (label, cast.view(width))

    want = {name: before.f32(name) for name in before.names()}
    rewrite(tiny, change)
    after = Checkpoint.open(tiny)
    assert after.config == before.config
    for name in want:
        np.testing.assert_array_equal(after.f32(name), values[name])
        assert after.raw(name).nbytes == after.info(name).nbytes


def shard(directory: Path, parts: int = 3) -> dict:
    """Split model.safetensors in `parts`; returns the index."""
    stored = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": {}}
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        mine = {key: stored[key] for key in sorted(stored)[part::parts]}
        write_safetensors(directory / name, [(k, "F32", a.shape, lambda a=a: a) for k, a in mine.items()])
        index["weight_map"] |= dict.fromkeys(mine, name)
    write_index(directory, index)
    return index


def write_index(directory: Path, index: object) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_sharded(tiny):
    single = Checkpoint.open(tiny)
    digest = single.sha256()
    want = {name: single.f32(name) for name in single.names()}
    shard(tiny)
    checkpoint = Checkpoint.open(tiny)
    assert checkpoint.names() == single.names()
    assert checkpoint.sha256() == digest
    for name, array in want.items():
        np.testing.assert_array_equal(checkpoint.f32(name), array)


FIRST = "model-00001-of-00003.safetensors"


def _move(index: dict, directory: Path) -> None:
    index["weight_map"]["lm_head.weight"] = FIRST if index["weight_map"]["lm_head.weight"] != FIRST else FIRST[:-1]


INDEX_FAULTS = {
    "shard missing": (lambda index, d: (d / FIRST).unlink(), "names 'model-00001.*missing; download it"),
    "shard cut": (lambda index, d: (d / FIRST).write_bytes((d / FIRST).read_bytes()[:-5]), "cut short"),
    "listed but not there": (lambda index, d: index["weight_map"].update({"extra.weight": FIRST}),
                             "says that 'extra.weight' is in"),
    "there but not listed": (lambda index, d: index["weight_map"].pop(PROJECTOR), f"holds `{PROJECTOR}`"),
    "listed elsewhere": (lambda index, d: index["weight_map"].update(
        {PROJECTOR: "model-00002-of-00003.safetensors" if index["weight_map"][PROJECTOR] == FIRST else FIRST}),
        "does not hold it"),
    "no map": (lambda index, d: index.pop("weight_map"), "weight_map must map"),
    "map of numbers": (lambda index, d: index.update(weight_map={"a": 1}), "weight_map must map"),
    "outside": (lambda index, d: index["weight_map"].update({PROJECTOR: "../x.safetensors"}), "not a file of this"),
    "same file again": (lambda index, d: shutil.copyfile(d / FIRST, d / "model.safetensors"), "holds both"),
}  # fmt: skip


@pytest.mark.parametrize("fault", INDEX_FAULTS)
def test_index_and_shards_disagree(fault: str, tiny):
    change, message = INDEX_FAULTS[fault]
    index = shard(tiny)
    change(index, tiny)
    write_index(tiny, index)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(tiny)
    refused(tiny)


def rename(prefix: str, other: str):
    def change(tensors: dict) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            tensors[other + name[len(prefix) :]] = tensors.pop(name)

    return change


def test_legacy_layout(tiny, rewrite):
    before = Checkpoint.open(tiny)
    want, digest = {name: before.f32(name) for name in before.names()}, before.sha256()
    for prefix, other in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                          ("model.vision_tower.", "vision_tower."),
                          ("model.multi_modal_projector.", "multi_modal_projector.")):  # fmt: skip
        rewrite(tiny, rename(prefix, other))
    after = Checkpoint.open(tiny)
    assert after.config == before.config
    assert after.sha256() == digest
    for name, array in want.items():
        np.testing.assert_array_equal(after.f32(name), array)


def to_stock(tensors: dict) -> None:
    """The understanding half in the naming of the Hugging Face port."""
    for name in list(tensors):
        dtype, array = tensors.pop(name)
        if not name.startswith(
            ("model.vision_tower.", "model.multi_modal_projector.", "model.language_model.", "lm_head")
        ):
            continue
        name = name.replace(".class_embedding", ".cls_token").replace(".position_embedding", ".position_embeddings")
        name = name.replace(".patch_embedding.", ".patch_embeddings.projection.")
        if ".encoder." in name:
            name = name.replace(".layers.", ".layer.").replace(".attn.proj.", ".attention.projection_layer.")
            name = name.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
            name = name.replace(".ls1", ".lambda_1").replace(".ls2", ".lambda_2")
        for ours, theirs in ((".0.", ".layer_norm."), (".1.", ".linear_1."), (".3.", ".linear_2.")):
            if "projector" in name:
                name = name.replace(ours, theirs)
        if ".attn.qkv." in name:
            for which, piece in zip("qkv", np.split(array, 3), strict=True):
                tensors[name.replace(".attn.qkv.", f".attention.{which}_proj.")] = (dtype, piece)
        else:
            tensors[name] = (dtype, array)


def test_stock_understanding_model(tiny, rewrite, edit_config):
    """InternVL3 alone, with separate q, k and v: it can see and answer, not draw."""
    before = Checkpoint.open(tiny)
    want = {name: before.f32(name) for part in ("vision", "language", "lm_head") for name in before.names(part)}
    rewrite(tiny, to_stock)
    after = Checkpoint.open(tiny)
    assert after.parts == {"vision", "language", "lm_head"}
    assert after.config.name == "internvl3"
    assert set(after.names()) == want.keys() | {"model.language_model.embed_tokens.weight"}
    for name, array in want.items():
        np.testing.assert_array_equal(after.f32(name), array)
        np.testing.assert_array_equal(after.raw(name), array)
    assert after.info("model.vision_tower.encoder.layers.0.attn.qkv.weight").shape == (192, 64)
    assert after.sha256() != before.sha256()


def tokenizer_only(tensors: dict, names: dict[str, str]) -> None:
    for name in list(tensors):
        value = tensors.pop(name)
        if name in names:
            tensors[names[name]] = value


def test_image_tokenizer_alone(tiny, rewrite, golden):
    names = json.loads(golden("spar-tiny/image_tokenizer_key_names.json").read_text())
    before = Checkpoint.open(tiny)
    want = {name: before.f32(name) for name in names}
    rewrite(tiny, lambda tensors: tokenizer_only(tensors, names))
    after = Checkpoint.open(tiny)
    assert after.parts == {"vision", "streams", "decoder"}
    assert after.names() == [name for name in before.names() if name in names]
    assert after.config.streams == before.config.streams
    for name, array in want.items():
        np.testing.assert_array_equal(after.f32(name), array)
    rewrite(tiny, lambda tensors: tensors.pop("decoder.conv_in.bias"))
    assert "1 missing: `model.vae_decoder.decoder.conv_in.bias`" in refused(tiny)


def test_training_only_tensors_are_listed(tiny, rewrite):
    rewrite(tiny, lambda tensors: tensors.update({"some.regressor.weight": ("I64", np.zeros(3, np.int64))}))
    assert "some.regressor.weight" in Checkpoint.open(tiny).ignored


TENSOR_FAULTS = {
    "missing": (lambda t: t.pop(PROJECTOR), f"1 missing: `{PROJECTOR}`"),
    "a whole layer": (lambda t: [t.pop(n) for n in list(t) if n.startswith("model.language_model.layers.3.")],
                      "12 missing: `model.language_model.layers.3..* and 8 more"),
    "renamed": (lambda t: t.update({"model.projektor.weight": t.pop(PROJECTOR)}),
                f"1 missing: `{PROJECTOR}`; 1 unknown: `model.projektor.weight`"),
    "extra": (lambda t: t.update({"model.other.bias": t[PROJECTOR]}), "1 unknown: `model.other.bias`"),
    "extra inside": (lambda t: t.update({"model.dit.pos_embed": t[PROJECTOR]}), "1 unknown: `model.dit.pos_embed`"),
    "mis-shaped": (lambda t: t.update({PROJECTOR: ("F32", t[PROJECTOR][1][:, :5].copy())}),
                   "1 mis-shaped: `model.projector.weight` is \\[80, 5\\], expected \\[80, 96\\]"),
    "transposed": (lambda t: t.update({PROJECTOR: ("F32", t[PROJECTOR][1].T.copy())}), "is \\[96, 80\\], expected"),
    "flattened": (lambda t: t.update({PROJECTOR: ("F32", t[PROJECTOR][1].reshape(-1))}), "mis-shaped"),
    "whole numbers": (lambda t: t.update({PROJECTOR: ("I32", t[PROJECTOR][1].astype(np.int32))}),
                      "1 not of a float type: `model.projector.weight` is I32"),
    "nothing": (lambda t: t.clear(), "missing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_that_are_not_the_models(fault: str, tiny, rewrite):
    change, message = TENSOR_FAULTS[fault]
    rewrite(tiny, change)
    if fault == "nothing":
        refused(tiny, SparError)
        return
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(tiny)
    assert str(tiny) in refused(tiny)


def test_one_name_twice(tiny, rewrite):
    rewrite(tiny, lambda t: t.update({"language_model.lm_head.weight": t["lm_head.weight"]}))
    assert "both mean `lm_head.weight`" in refused(tiny)


def test_wrong_configuration(tiny, edit_config):
    edit_config(tiny / "config.json", routing_num_layers=5)
    assert "routing_num_layers=5, but the tensors have 4" in refused(tiny, ConfigError)


def test_position_setting(tiny):
    assert Checkpoint.open(tiny).config.dit.position == "sincos"
    assert Checkpoint.open(tiny, dit_position="none").config.dit.position == "none"


def test_paths_that_are_no_checkpoint(tiny, tmp_path):
    import torch

    assert "no such directory" in refused(tmp_path / "absent")
    assert "give the directory" in refused(tiny / "model.safetensors")
    (tmp_path / "empty").mkdir()
    assert "holds neither" in refused(tmp_path / "empty")
    torch.save({"a": torch.zeros(1)}, tmp_path / "empty" / "pytorch_model.bin")
    assert "spar-export convert" in refused(tmp_path / "empty")
    assert "spar-export convert" in refused(tmp_path / "empty" / "pytorch_model.bin")
    shutil.copyfile(tmp_path / "empty" / "pytorch_model.bin", tiny / "model.safetensors")
    assert "spar-export convert" in refused(tiny)
    (tiny / "model.safetensors").unlink()
    (tiny / "config.json").unlink()
    assert "holds neither" in refused(tiny)


def test_damaged_values_are_found_when_asked(tiny, rewrite):
    def change(tensors: dict) -> None:
        tensors[PROJECTOR][1][3, 4] = np.nan
        tensors["model.latent_queries"][1][0, 0, 0] = np.inf

    rewrite(tiny, change)
    with pytest.raises(CheckpointError, match=r"`model.latent_queries`, `model.projector.weight` hold NaN or infinity"):
        Checkpoint.open(tiny).verify_finite()


def test_place_in_the_file(tiny, rewrite):
    checkpoint = Checkpoint.open(tiny)
    path, info = checkpoint.place(PROJECTOR)
    stored = path.read_bytes()[info.begin : info.end]
    assert path == tiny / "model.safetensors"
    assert stored == checkpoint.raw(PROJECTOR).tobytes()
    rewrite(tiny, to_stock)
    assert Checkpoint.open(tiny).place("model.vision_tower.encoder.layers.0.attn.qkv.weight") is None
    assert RandomWeights(preset("spar-tiny-random")).place(PROJECTOR) is None


def test_digest_of_some_parameters(tiny, rewrite):
    checkpoint = Checkpoint.open(tiny)
    names = checkpoint.names("condition")
    digest, others = checkpoint.sha256(names), checkpoint.sha256(checkpoint.names("dit"))
    assert digest == checkpoint.sha256(reversed(names)) != others

    def change(tensors: dict) -> None:
        tensors[PROJECTOR][1][0, 0] += 1

    rewrite(tiny, change)
    again = Checkpoint.open(tiny)
    assert again.sha256(names) != digest
    assert again.sha256(again.names("dit")) == others


def test_reading_needs_no_framework():
    code = ("import sys; import spar_engine.weights; "
            "assert not {'torch', 'onnxruntime', 'tokenizers', 'PIL', 'safetensors'} & set(sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_parameter(tiny):
    checkpoint = Checkpoint.open(tiny)
    for read in (checkpoint.info, checkpoint.raw, checkpoint.f32):
        with pytest.raises(CheckpointError, match="holds no parameter `x`"):
            read("x")
    with pytest.raises(CheckpointError, match="holds no parameter"):
        checkpoint.f32("model.alignment_projector.0.weight")


def test_saved_random_weights_open_as_a_checkpoint(tmp_path, golden):
    made = RandomWeights(preset("spar-tiny-random"), seed=3)
    made.save(tmp_path / "out", golden("spar-tiny/checkpoint/tokenizer.json"))
    checkpoint = Checkpoint.open(tmp_path / "out")
    assert checkpoint.config == made.config
    assert checkpoint.names() == made.names()
    for name in made.names():
        np.testing.assert_array_equal(checkpoint.f32(name), made.f32(name))
        in_decoder = name.startswith("model.vae_decoder.decoder.")
        assert checkpoint.info(name).dtype == ("F32" if in_decoder else "BF16")
    with pytest.raises(CheckpointError, match="exists and is not an empty"):
        made.save(tmp_path / "out", golden("spar-tiny/checkpoint/tokenizer.json"))
