"""Steps that the Python package takes in numpy or Pillow, and the C library in C++: the same bits."""

import codecs
import random

import numpy as np
import pytest
from spar_engine.config import SamplerConfig
from spar_engine.image import postprocess, preprocess, resample
from spar_engine.pipelines.understand import Chooser, Decoding
from spar_engine.samplers import noise, schedule, uniforms
from spar_engine.weights.dtypes import STORAGE, to_f32
from spar_engine.weights.names import canonical


def pictures():
    """Of several sizes and aspects, noise and smooth."""
    rng = np.random.default_rng(0)
    for height, width in ((2, 2), (3, 200), (97, 61), (128, 128), (40, 333)):
        yield rng.integers(0, 256, (height, width, 3), np.uint8)
    yield np.linspace(0, 255, 120 * 90 * 3).reshape(120, 90, 3).astype(np.uint8)


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (0, 1), (2**64 - 1, 0), (1234567890123, 2**32 - 1)])
def test_noise(probe, seed, index):
    size = 32 * 4 * 5 + 3
    data = probe.one("noise", f"{seed} {index} {size}")
    assert data[: 4 * size] == noise(seed, (size,), 1, index).tobytes()
    if index < 2:
        assert np.frombuffer(data[4 * size :], np.float64)[0] == uniforms(seed, 1, index)[0]


@pytest.mark.parametrize(("kind", "shift", "train"), [("dpm-solver++", 3.0, 1000), ("euler", 3.0, 1000),
                                                      ("dpm-solver++", 1.7, 700)])  # fmt: skip
def test_schedule(probe, kind, shift, train):
    """Every number of steps. Logarithms of two mathematical libraries may differ in the last bit of float64, which a
    float32 follows in about one case of 10^8: none of these."""
    config = SamplerConfig(kind=kind, shift=shift, train_steps=train, linspace=kind == "euler")
    steps = [*range(1, 60), 99, 100, 250, 500, 699, 700]
    requests = [f"{kind.split('-')[0]} {shift!r} {train} {count}".encode() for count in steps]
    for count, data in zip(steps, probe.all("schedule", requests), strict=True):
        plan = schedule(config, count)
        parts = (plan.sigmas, plan.timesteps.astype(np.float32), plan.a, plan.b, plan.c)
        assert data == b"".join(part.tobytes() for part in parts), count


def test_bicubic(probe):
    for picture in pictures():
        for height, width in ((112, 112), (5, 260), (picture.shape[0], 17)):
            got = probe.array("bicubic", f"{picture.shape[0]} {picture.shape[1]} {height} {width}", picture, np.uint8)
            assert np.array_equal(got.reshape(height, width, 3), resample.bicubic(picture, height, width))


def test_pixels(probe):
    for picture in pictures():
        size = f"{picture.shape[0]} {picture.shape[1]}"
        for command, want in (("edit_pixels", preprocess.edit_pixels(picture, 112)),
                              ("reconstruct_pixels", preprocess.reconstruct_pixels(picture, 84))):  # fmt: skip
            assert probe.one(command, f"{size} {want.shape[-1]}\n".encode() + picture.tobytes()) == want.tobytes()
        for tiles in (1, 2, 5, 12):
            want = preprocess.chat_pixels(picture, 28, tiles)
            assert probe.one("chat_pixels", f"{size} 28 {tiles}\n".encode() + picture.tobytes()) == want.tobytes()


def test_decoded_pictures(probe):
    rng = np.random.default_rng(1)
    for rows, columns in ((128, 128), (64, 160), (32, 32)):
        decoded = (1.2 * rng.standard_normal((1, 3, rows, columns))).astype(np.float32)
        for full in (False, True):
            got = probe.array("generated", f"{rows} {columns} {int(full)}", decoded, np.uint8)
            assert np.array_equal(got, postprocess.pictures(decoded, full).ravel())
        got = probe.array("reconstructed", f"{rows} {columns}", decoded, np.uint8)
        assert np.array_equal(got, postprocess.reconstructed_pictures(postprocess.reconstruction(decoded)).ravel())


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_element_types(probe, dtype):
    """Every bit pattern of the small types; random ones of the large."""
    kind = STORAGE[dtype]
    if kind.itemsize <= 2:
        raw = np.arange(256**kind.itemsize).astype(f"u{kind.itemsize}").view(kind)
    else:
        raw = np.random.default_rng(2).standard_normal(1000).astype(kind)
    got = np.frombuffer(probe.one("floats", raw.tobytes(), dtype), np.float32)
    assert np.array_equal(got, to_f32(raw, dtype), equal_nan=True)


def test_choice_of_tokens(probe):
    """Greedy is exact. A drawn token could differ where a draw falls within about 1e-13 of a border, as exp and sums
    are rounded in another order: none of these."""
    rng = np.random.default_rng(3)
    requests, want = [], []
    for number in range(200):
        logits = (3 * rng.standard_normal(700)).astype(np.float32)
        logits[number] = logits.max()  # a tie
        temperature, top_p = (0.0, 1.0) if number % 4 == 0 else (0.2 + number / 100, 0.3 + number / 300)
        choose = Chooser(Decoding(max_new_tokens=1, temperature=temperature, top_p=top_p, seed=number))
        choose.drawn = number
        want.append(choose(logits))
        requests.append(f"{temperature!r} {top_p!r} {number} {number}\n".encode() + logits.tobytes())
    assert [int(token) for token in probe.all("choose", requests)] == want


def test_utf8_in_pieces(probe):
    """Any bytes, one at a time, as Python's incremental decoder replaces them."""
    rng = random.Random(4)
    alphabet = [
        *range(0x7E, 0x83),
        0x9F,
        0xA0,
        0xBF,
        0xC0,
        0xC1,
        0xC2,
        0xDF,
        0xE0,
        0xE1,
        0xED,
        0xEF,
        *range(0xF0, 0xF8),
    ]
    records = [bytes(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(3000)]
    records += ["a\u00e9\u4e66\U0001f642".encode(), b"", "\ud800".encode("utf-8", "surrogatepass")]
    for record, text in zip(records, probe.all("utf8", records), strict=True):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        want = "".join(decoder.decode(bytes((byte,))) for byte in record) + decoder.decode(b"", final=True)
        assert text.decode() == want, record


def test_names(probe):
    """Names of every writer; what is none of theirs stays."""
    names = [
        "vision_model.encoder.layers.3.attn.qkv.weight", "mlp1.0.weight", "encoder.layers.0.ls1",
        "model.vision_tower.encoder.layer.11.attention.projection_layer.weight", "language_model.model.norm.weight",
        "vision_tower.encoder.layer.2.lambda_1", "vision_tower.encoder.layer.2.lambda_12", "lm_head.weight",
        "vision_tower.encoder.layer.2.attention.q_proj.bias", "vision_tower.embeddings.cls_token",
        "vision_tower.embeddings.cls_token.x", "vision_tower.embeddings.patch_embeddings.projection.bias",
        "model.multi_modal_projector.linear_2.bias", "model.multi_modal_projector.layer_norm.weight",
        "vision_tower.encoder.layer.x.mlp.fc1.weight", "encoder.layer.7.mlp.fc1.bias", "decoder.conv_in.weight",
        "pixel_transformer.layers.0.norm1.bias", "model.dit.proj_out.weight", "language_model.lm_head.weight",
        "vision_tower.encoder.layer.4.layernorm_after.bias", "semantic_down_mlp.3.bias", "x",
    ]  # fmt: skip
    found = probe.all("canonical", [name.encode() for name in names])
    assert [name.decode() for name in found] == [canonical(name) for name in names]
