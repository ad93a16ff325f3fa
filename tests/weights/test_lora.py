"""LoRA files: naming, scales, what is refused, and that every backend runs the merged model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spar_engine
from spar_engine.backends.build import _arguments
from spar_engine.backends.choose import open_backend
from spar_engine.components import components
from spar_engine.errors import CheckpointError, InputError
from spar_engine.runtime.assemble import open_weights
from spar_engine.weights import Checkpoint, write_safetensors
from spar_engine.weights.dtypes import to_bf16
from spar_engine.weights.lora import MergedWeights, with_loras

BLOCK = "transformer_blocks.0.attn1.to_q"
NAME = f"model.dit.{BLOCK}.weight"
RANK = 2


@pytest.fixture
def base(golden_dir):
    return Checkpoint.open(golden_dir("spar-tiny") / "checkpoint")


def write(path, tensors):
    write_safetensors(path, [(name, "F32", array.shape, lambda array=array: array) for name, array in tensors.items()])
    return path


def matrices(base, name, seed=0):
    rng, shape = np.random.default_rng(seed), base.info(name).shape
    width = int(np.prod(shape[1:]))
    down = rng.standard_normal((RANK, width), dtype=np.float32)
    return down, rng.standard_normal((shape[0], RANK), dtype=np.float32)


@pytest.mark.parametrize("form", [
    "transformer.{}.lora_A.weight transformer.{}.lora_B.weight",
    "base_model.model.transformer.{}.lora_A.default.weight base_model.model.transformer.{}.lora_B.default.weight",
    "transformer.{}.lora.down.weight transformer.{}.lora.up.weight",
    "model.dit.{}.lora_down.weight model.dit.{}.lora_up.weight",
    "{}.lora_A.weight {}.lora_B.weight",
])  # fmt: skip
def test_namings(base, tmp_path, form):
    down, up = matrices(base, NAME)
    first, second = form.replace("{}", BLOCK).split()
    file = write(tmp_path / "a.safetensors", {first: down, second: up})
    merged = with_loras(base, [(file, 0.5)])
    want = base.f32(NAME) + 0.5 * (up @ down)
    assert np.abs(merged.f32(NAME) - want).max() <= 1e-4 * np.abs(want).max()
    assert np.array_equal(merged.f32(NAME.replace("to_q", "to_k")), base.f32(NAME.replace("to_q", "to_k")))


def test_convolutions_alpha_and_config(base, tmp_path):
    name = "model.dit.transformer_blocks.0.ff.conv_inverted.weight"
    down, up = matrices(base, name)
    path = name.removesuffix(".weight")
    tensors = {f"{path}.lora_down.weight": down[:, :, None, None], f"{path}.lora_up.weight": up[:, :, None, None]}
    want = (up.astype(np.float64) @ down).reshape(base.info(name).shape)
    plain = with_loras(base, [(write(tmp_path / "a.safetensors", tensors), 1.0)])
    near = {"atol": 2.0**-6 * np.abs(want).max()}  # a bf16 checkpoint rounds the sum
    np.testing.assert_allclose(plain.f32(name) - base.f32(name), want, **near)
    alpha = {f"{path}.alpha": np.array([8.0], np.float32)}
    scaled = with_loras(base, [str(write(tmp_path / "b.safetensors", tensors | alpha))])
    np.testing.assert_allclose(scaled.f32(name) - base.f32(name), 4 * want, rtol=0, atol=4 * near["atol"])
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6, "r": RANK}))
    beside = with_loras(base, [str(tmp_path / "a.safetensors")])
    np.testing.assert_allclose(beside.f32(name) - base.f32(name), 3 * want, rtol=0, atol=3 * near["atol"])
    assert beside.sha256([name]) != plain.sha256([name])
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6, "use_dora": True}))
    with pytest.raises(CheckpointError, match="use_dora is set, which is not a plain LoRA"):
        with_loras(base, [str(tmp_path / "a.safetensors")])


@pytest.fixture
def two(base, tmp_path):
    """Two LoRA files on parameters of several components."""
    names = [
        NAME,
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.dit.caption_projection.linear_1.weight",
    ]
    made = []
    for seed in (1, 2):
        tensors = {}
        for name in names:
            down, up = matrices(base, name, seed)
            tensors[name.removesuffix("weight") + "lora_A.weight"] = 0.1 * down
            tensors[name.removesuffix("weight") + "lora_B.weight"] = 0.1 * up
        made.append(f"{write(tmp_path / f'{seed}.safetensors', tensors)}:{seed / 2}")
    return made


@pytest.mark.parametrize("backend", ["native", "onnxruntime", "torch"])
def test_every_backend_runs_it_and_a_b_a_is_a(base, two, backend):
    spec = components(base.config)["context"]
    inputs = spec.example(np.random.default_rng(0), tokens=5, branch=1)
    options = {"precision": "fp32"} | ({"threads": 1} if backend != "torch" else {})

    def keys(asked):
        opened = open_backend(backend, with_loras(base, asked), **options)
        found = np.asarray(opened.run("context", inputs)["cross_keys"]).copy()
        opened.close()
        return found

    first, second, again, without = keys(two[:1]), keys(two[1:]), keys(two[:1]), keys([])
    assert np.array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()
    assert np.abs(first - without).max() > 1e-3 * np.abs(first).max()
    if backend != "torch":
        opened = open_backend("torch", with_loras(base, two[:1]), precision="fp32")
        want = opened.run("context", inputs)["cross_keys"]
        assert np.abs(first - want).max() <= 1e-4 * np.abs(want).max()


def test_scale_zero_and_order(base, two):
    zero = with_loras(base, [two[0].rpartition(":")[0] + ":0"])
    assert np.array_equal(zero.raw(NAME), base.raw(NAME))
    both, turned = with_loras(base, two), with_loras(base, two[::-1])
    assert isinstance(both, MergedWeights)
    np.testing.assert_allclose(both.f32(NAME), turned.f32(NAME), rtol=2.0**-7, atol=1e-6)
    assert with_loras(base, []) is base
    assert both.place(NAME) is None
    assert _arguments(both, base.directory)[-4:] == ["--lora", both.asked[0], "--lora", both.asked[1]]


def test_stored_types_stay(base, two):
    merged = with_loras(base, two[:1])
    for name in (NAME, "model.language_model.layers.0.self_attn.q_proj.weight"):
        assert merged.info(name) == base.info(name)
        assert merged.raw(name).dtype == base.raw(name).dtype
        if base.info(name).dtype == "BF16":
            assert np.array_equal(merged.raw(name), to_bf16(merged.f32(name)))


def test_refusals(base, tmp_path):
    down, up = matrices(base, NAME)
    good = {f"transformer.{BLOCK}.lora_A.weight": down, f"transformer.{BLOCK}.lora_B.weight": up}

    def refused(tensors, said, scale=1.0, kind=CheckpointError):
        with pytest.raises(kind, match=said):
            with_loras(base, [(write(tmp_path / "x.safetensors", tensors), scale)])

    refused(
        {"transformer.nothing.lora_A.weight": down, "transformer.nothing.lora_B.weight": up}, "belong to no parameter"
    )
    refused(
        {"unet.conv.weight": down}, "is not a LoRA file in the naming of diffusers or peft; it holds `unet.conv.weight`"
    )
    refused({f"transformer.{BLOCK}.lora_A.weight": down}, "lacks its up matrix; the file is incomplete")
    refused(good | {f"model.dit.{BLOCK}.lora_A.weight": down, f"model.dit.{BLOCK}.lora_B.weight": up}, "second change")
    refused(
        {f"transformer.{BLOCK}.lora_A.weight": down[:, :-1], f"transformer.{BLOCK}.lora_B.weight": up}, "does not fit"
    )
    refused(good, "must be a finite number", float("nan"), InputError)
    with pytest.raises(CheckpointError, match="cannot be read"):
        with_loras(base, [str(tmp_path / "missing.safetensors")])


def test_load_takes_loras(base, two):
    engine = spar_engine.load(base.directory, backend="native", lora=two, threads=1)
    plain = spar_engine.load(base.directory, backend="native", threads=1)
    options = {"seed": 3, "num_inference_steps": 2}
    with_lora, without = (np.asarray(one.generate("a boat", **options).image) for one in (engine, plain))
    assert not np.array_equal(with_lora, without)
    merged = open_weights(base.directory, lora=two)
    assert merged.asked == [f"{item.rpartition(':')[0]}:{float(item.rpartition(':')[2])!r}" for item in two]
