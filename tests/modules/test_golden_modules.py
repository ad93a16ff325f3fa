"""The plain model reproduces every tensor of the golden vectors that torch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spar_engine.modules.model import positions_of
from spar_engine.modules.tap import taps


class Golden:
    """The tensors of one file; `close` compares by name, `finish` demands that all were compared."""

    def __init__(self, path, tensors, tolerance):
        self.path, self.tensors, self.tolerance, self.seen = path, tensors, tolerance, set()

    def __getitem__(self, name):
        return torch.from_numpy(self.tensors[name].copy())

    def __contains__(self, name):
        return name in self.tensors

    def close(self, name: str, got: torch.Tensor) -> None:
        want, entry = self.tensors[name], self.tolerance(self.path, name)
        self.seen.add(name)
        assert tuple(got.shape) == want.shape, name
        got = got.numpy()
        if "atol" not in entry:
            np.testing.assert_array_equal(got, want, name)
            return
        error = np.abs(got.astype(np.float64) - want)
        if "valid_rows" in entry:
            error = error[self.tensors[entry["valid_rows"]] == 1]
        assert error.max() <= entry["atol"], f"{name}: {error.max():.3g} > {entry['atol']:.3g}"

    def close_all(self, seen: dict[str, torch.Tensor], prefix: str = "") -> None:
        for name, value in seen.items():
            if prefix + name in self:
                self.close(prefix + name, value)

    def finish(self, *others: str) -> None:
        """`others` are compared elsewhere."""
        computed = {name for name in self.tensors if not name.startswith("in.")}
        assert self.seen == computed - set(others), computed ^ self.seen ^ set(others)


@pytest.fixture
def model(original, reference):
    return reference(original, torch.float32)


@pytest.fixture
def vectors(original, golden_dir, golden_tensors, golden_tolerance):
    """vectors("dit"): that file of the checkpoint under test."""
    name = original.config.name if original.config.name.endswith("tiny") else original.directory.parent.name

    def read(file: str) -> Golden:
        return Golden(f"{name}/{file}", golden_tensors(f"{name}/{file}"), golden_tolerance)

    return read


def test_vision(model, vectors):
    golden = vectors("vision")
    with taps() as seen:
        model.features(golden["in.pixel_values"])
    golden.close_all(seen)
    with taps() as seen:
        model.model.vision_tower(golden["in.pixel_values_other"])
    golden.close("embeddings_other", seen["embeddings"])
    golden.close("last_hidden_other", seen[f"layer_{model.config.vision.depth - 1}"])
    golden.finish()


def test_streams(model, vectors):
    golden = vectors("streams")
    with taps() as seen:
        tokens = model.model.vae_decoder(golden["in.features"])
    golden.close_all(seen)
    golden.close("latents", tokens.transpose(1, 2).reshape(golden["latents"].shape))
    golden.finish()


def test_decoder(model, vectors):
    golden = vectors("decoder")
    with taps() as seen:
        model.decode(golden["in.latents"])
    golden.close_all(seen)
    golden.finish()


@pytest.mark.parametrize("side", ["right", "left"])
def test_conditioning(model, vectors, side):
    golden = vectors("conditioning")
    with taps() as seen:
        caption, mask = model.condition(golden[f"{side}.input_ids"], golden[f"{side}.attention_mask"])
    golden.close_all(seen, f"{side}.")
    golden.close(f"{side}.mask", mask.int())
    golden.close(f"{side}.dit.mask", mask.flip(0).int())
    golden.close(f"{side}.dit.caption", caption.flip(0))
    other = "left" if side == "right" else "right"
    host = {f"{side}.{name}" for name in ("input_ids", "attention_mask", "position_ids")}
    golden.finish(*host, *(name for name in golden.tensors if name.startswith(other)))


@pytest.mark.parametrize("side", ["right", "left"])
def test_positions(model, vectors, side):
    golden = vectors("conditioning")
    golden.close(f"{side}.position_ids", positions_of(golden[f"{side}.mask"].long()))


def test_dit(model, vectors):
    golden = vectors("dit")
    inputs = golden["in.caption"], golden["in.mask"]
    for timestep in golden["in.timesteps"].tolist():
        times = torch.full((2,), timestep)
        with taps() as seen:
            model.velocity(golden["in.latents"], times, *inputs)
        golden.close_all(seen, f"t{timestep}.")
        golden.close("pos_embed", seen["pos_embed"])
    model.model.dit.patch_embed.base = None
    for timestep in golden["in.timesteps"].tolist():
        bare = model.velocity(golden["in.latents"], torch.full((2,), timestep), *inputs)
        golden.close(f"t{timestep}.out_without_pos_embed", bare)
    golden.finish()


def test_edit(model, vectors):
    golden = vectors("edit")
    features = model.features(golden["in.pixel_values"]).expand(2, -1, -1)
    with taps() as seen:
        caption, mask = model.condition(golden["in.input_ids"], golden["in.attention_mask"], features)
    golden.close_all(seen)
    golden.close("mask", mask.int())
    golden.close("dit.caption", caption.flip(0))
    latents = torch.cat((golden["in.noise"][None], golden["latents"][:-1]))
    halves = []
    for latent, timestep in zip(latents, golden["timesteps"], strict=True):
        both = latent.expand(2, -1, -1, -1)
        halves.append(model.velocity(both, timestep.expand(2), golden["dit.caption"], golden["dit.mask"]))
    steps = torch.stack(halves)
    golden.close("uncond", steps[:, :1])
    golden.close("cond", steps[:, 1:])
    golden.close("decoder_in", golden["latents"][-1] / model.config.latent_scale)
    golden.close("decoded", model.decode(golden["decoder_in"]))


def test_recon(model, vectors):
    golden = vectors("recon")
    with taps() as seen:
        latents = model.encode(golden["in.pixel_values"])
    golden.close_all(seen)
    golden.close("decoded", model.decode(latents))
    golden.finish("image", "image_uint8")


def test_understand(model, vectors):
    golden = vectors("understand")
    features = model.features(golden["in.pixel_values"])
    golden.close("features", features)
    embeds = model.embed(golden["input_ids"], features)
    golden.close("inputs_embeds", embeds)
    rows, ids, past = [], [], None
    for _ in range(golden["new_ids"].shape[1]):
        logits, past = model.logits(embeds, past)
        rows.append(logits)
        ids.append(logits.argmax(-1, keepdim=True))
        embeds = model.embed(ids[-1])
    golden.close("new_ids", torch.cat(ids, 1))
    golden.close("logits", torch.stack(rows, 1))
    for layer in (0, model.config.language.depth - 1):
        golden.close(f"cache.key_{layer}", past[layer][0])
        golden.close(f"cache.value_{layer}", past[layer][1])
    golden.finish("input_ids")
