"""Cuts read the right tensors, load strictly, and run in bf16 as well as the original does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.errors import CheckpointError, InputError
from spar_engine.modules import cuts
from spar_engine.modules.model import Spar
from spar_engine.modules.tap import taps
from spar_engine.weights.schema import HOST, component_of, expected

NAMES = list(cuts.CUTS)


def test_every_component_has_a_cut(odd_config):
    assert list(components(odd_config)) == NAMES


def test_an_unknown_component(odd_config):
    with pytest.raises(InputError, match="'encoder' is unknown; there are"):
        cuts.build("encoder", odd_config)


def test_the_plain_model_has_the_names_of_a_checkpoint(original):
    with cuts.without_data():
        model = Spar(original.config)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == expected(original.config)


@pytest.mark.parametrize("name", ["spar-1b", "spar-3b", "unilip-1b", "unilip-3b"])
def test_presets_build(name):
    config = preset(name)
    with cuts.without_data():
        model = Spar(config)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected(config)
    assert sum(value.numel() for value in model.model.vision_tower.parameters()) == 304_012_288  # spec 12.1
    assert sum(value.numel() for value in model.model.vae_decoder.decoder.parameters()) == 159_223_171


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_reads_its_own_tensors(odd_config, name):
    names = cuts.build(name, odd_config).names()
    assert names
    assert {component_of(tensor) for tensor in names} == {name}


def test_together_cuts_read_all_but_the_dropped_biases(odd_config):
    read = [tensor for name in NAMES for tensor in cuts.build(name, odd_config).names()]
    assert len(read) == len(set(read))
    dropped = {f"model.dit.transformer_blocks.{index}.attn2.to_k.bias" for index in range(odd_config.dit.depth)}
    assert set(expected(odd_config)) - set(read) == dropped | set(HOST)


@pytest.mark.parametrize("name", NAMES)
def test_a_built_cut_has_no_data(odd_config, name):
    cut = cuts.build(name, odd_config)
    assert {parameter.device.type for parameter in cut.parameters()} == {"meta"}
    assert not any(parameter.requires_grad for parameter in cut.parameters())
    assert not cut.training


class Changed:
    """Weights with one tensor replaced; None: it is missing."""

    def __init__(self, weights, name, value):
        self.weights, self.name, self.value = weights, name, value

    def f32(self, name):
        if name != self.name:
            return self.weights.f32(name)
        if self.value is None:
            raise CheckpointError(f"{name} is missing")
        return self.value


def test_loading_refuses_another_shape(odd):
    name = "model.dit.proj_out.bias"
    with pytest.raises(CheckpointError, match=r"model\.dit\.proj_out\.bias: shape \[5\].*needs \[4\]"):
        cuts.load(cuts.build("dit", odd.config), Changed(odd.weights, name, np.zeros(5, np.float32)))


def test_loading_needs_every_tensor(odd):
    cut = cuts.build("streams", odd.config)
    with pytest.raises(CheckpointError, match="fusion_layer"):
        cuts.load(cut, Changed(odd.weights, "model.vae_decoder.fusion_layer.1.weight", None))


def test_a_failed_load_leaves_the_old_weights(odd):
    cut = odd.cut("lm_head")
    before = cut.lm_head.weight.clone()
    with pytest.raises(CheckpointError):
        cuts.load(cut, Changed(odd.weights, "lm_head.weight", None))
    assert torch.equal(cut.lm_head.weight, before)


def test_loading_forgets_prepared_constants(odd):
    """Other weights after `prepare` give the picture of the other weights."""
    latent, name = odd.normal(1, 4, 2, 3), "model.vae_decoder.decoder.conv_in.weight"
    other = Changed(odd.weights, name, 2 * odd.weights.f32(name))
    cut = cuts.prepare(odd.cut("decoder"))
    (before,) = cut(latent)
    (after,) = cuts.load(cut, other, dtype=torch.float64)(latent)
    (want,) = cuts.load(cuts.build("decoder", odd.config), other, dtype=torch.float64)(latent)
    assert torch.equal(after, want)
    assert not torch.equal(before, after)


def test_prepared_constants_follow_the_module(odd):
    cut = cuts.prepare(odd.cut("decoder")).to(torch.float32)
    (image,) = cut(odd.normal(1, 4, 2, 3).float())
    assert image.dtype == torch.float32
    assert not [name for name in cut.names() if "folded" in name]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_the_shapes_of_the_component(odd, name):
    """And taps do not change a bit of them."""
    spec = components(odd.config)[name]
    axes = {"batch": 2, "tokens": 9, "rows": 9, "past": 3, "tiles": 2, "image_tokens": 0, "branch": 2, "height": 2,
            "width": 3}  # fmt: skip
    axes |= {"height": 28, "width": 84} if name == "vision" else {}
    inputs = spec.example(odd.rng, **{axis: size for axis, size in axes.items() if axis in spec.ranges})
    sizes = spec.check(inputs)
    cut = cuts.load(cuts.build(name, odd.config), odd.weights)
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    outputs = cut(*tensors)
    for output, tensor in zip(outputs, spec.outputs.values(), strict=True):
        wanted = [axis if isinstance(axis, int) else sizes.get(axis) for axis in tensor.axes]
        assert len(wanted) == output.ndim
        assert all(want in (None, size) for want, size in zip(wanted, output.shape, strict=True))
        assert torch.isfinite(output).all()
    with taps() as seen:
        again = cut(*tensors)
    assert all(torch.equal(one, other) for one, other in zip(outputs, again, strict=True))
    assert seen or name == "context"


def relative_rms(got, want):
    return float((got.double() - want.double()).square().mean().sqrt() / want.double().square().mean().sqrt())


def test_bf16_is_as_accurate_as_the_original_in_bf16(original, golden_tensors, golden_tolerance):
    """Within twice the distance of the author's bf16 run from float32, for what each part finally gives."""
    folder = original.directory.parent.name

    def load(name):
        return cuts.load(cuts.build(name, original.config), original, dtype=torch.bfloat16)

    def compare(file, tensor, got, rows=slice(None)):
        want = torch.from_numpy(golden_tensors(f"{folder}/{file}")[tensor].copy())[rows]
        allowed = 2 * golden_tolerance(f"{folder}/{file}", tensor)["bf16_relative_rms"]
        assert relative_rms(got, want) <= allowed, tensor

    def read(file, tensor):
        value = torch.from_numpy(golden_tensors(f"{folder}/{file}")[tensor].copy())
        return value.bfloat16() if value.is_floating_point() else value

    compare("vision", "features", load("vision")(read("vision", "in.pixel_values"))[0])
    tokens = load("streams")(read("streams", "in.features"))[0].transpose(1, 2)
    compare("streams", "latents", tokens.unflatten(2, golden_tensors(f"{folder}/streams")["latents"].shape[2:]))
    valid = read("conditioning", "right.mask")[0].bool()
    embeds, empty = read("conditioning", "right.inputs_embeds")[:1, valid], original.config.language
    cache = torch.zeros(empty.depth, 1, empty.kv_heads, 0, empty.head_dim, dtype=torch.bfloat16)
    tokens = torch.arange(embeds.shape[1])
    levels, _, _ = load("language")(embeds, cache, cache, tokens)
    (caption,) = load("condition")(levels, embeds[:, :0], tokens)
    compare("conditioning", "right.projector.out", caption[0], (0, valid))
    mask = read("dit", "in.mask")
    captions, latent = read("dit", "in.caption"), read("dit", "in.latents")
    for timestep in read("dit", "in.timesteps").tolist():
        rows = []
        for row in range(2):
            keys, values = load("context")(captions[row : row + 1, mask[row].bool()])
            modulation, final = load("modulation")(torch.tensor([float(timestep)]))
            length = torch.tensor([keys.shape[3]])
            one = latent[row : row + 1]
            rows.append(load("dit")(one, modulation, final, torch.tensor([0]), keys, values, length)[0])
        compare("dit", f"t{timestep}.out", torch.cat(rows))
