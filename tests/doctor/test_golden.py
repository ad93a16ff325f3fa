"""Every golden tensor, recomputed by every backend; and proof that the comparison can fail."""

import json
from functools import partial

import numpy as np
import pytest
from spar_engine.backends.choose import open_backend
from spar_engine.doctor.compare import compare, compare_tokens
from spar_engine.doctor.golden import examine, read_tolerances, subject_for
from spar_engine.weights import Checkpoint

BACKENDS = {"torch": {}, "onnxruntime": {}, "native": {}, "cuda": {"device": "cpu"}}  # name -> options


class Changed:
    """A checkpoint with one parameter altered in one element."""

    def __init__(self, weights, name, index, by):
        self._weights, self._name, self._index, self._by = weights, name, index, by

    def __getattr__(self, name):
        return getattr(self._weights, name)

    def f32(self, name):
        values = self._weights.f32(name)
        if name == self._name:
            values[self._index] += self._by
        return values


def present(directory):
    return [file for file in read_tolerances(directory) if (directory / f"{file}.safetensors").exists()]


def rows_of(directory, weights, backend, files=None, precision="fp32"):
    subjects = subject_for(weights, partial(open_backend, backend, precision=precision, **BACKENDS[backend]))
    return list(examine(directory, files or present(directory), subjects))


def weights_of(directory, changed=None):
    """Position table -> weights, one parameter of them changed."""

    def found(position):
        weights = Checkpoint.open(directory / "checkpoint", dit_position=position)
        return weights if changed is None else Changed(weights, *changed)

    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["spar-tiny", "unilip-tiny"])
def test_every_tensor_agrees(golden_dir, name, backend):
    directory = golden_dir(name)
    rows = rows_of(directory, weights_of(directory), backend)
    assert len(rows) >= 50
    assert not [row for row in rows if not row.passed]


@pytest.mark.parametrize("name", ["spar-tiny", "unilip-tiny"])
def test_bf16_loses_no_more_than_twice_what_the_original_loses(golden_dir, name):
    directory = golden_dir(name)
    native = subject_for(weights_of(directory), partial(open_backend, "native", precision="bf16"))
    plain = subject_for(weights_of(directory), partial(open_backend, "torch", precision="bf16"))
    rows = list(examine(directory, present(directory), native, plain))
    assert not [row for row in rows if not row.passed]
    assert any(row.measure == "relative rms" for row in rows)


def test_schedulers_agree(golden_dir):
    directory = golden_dir("schedulers")
    rows = list(examine(directory, present(directory), None))
    assert len(rows) == 80
    assert all(row.passed for row in rows)


@pytest.mark.parametrize(("name", "file"), [
    ("model.dit.transformer_blocks.1.attn1.to_v.weight", "dit"),
    ("model.vae_decoder.fusion_layer.1.bias", "streams"),
    ("model.vae_decoder.decoder.conv_in.weight", "t2i_0"),
])  # fmt: skip
def test_one_wrong_weight_is_found(golden_dir, name, file):
    directory = golden_dir("spar-tiny")
    axes = len(Checkpoint.open(directory / "checkpoint").info(name).shape)
    changed = weights_of(directory, (name, (0,) * axes, 0.05))
    assert [row for row in rows_of(directory, changed, "torch", [file]) if not row.passed]


def test_a_tensor_that_is_not_produced_fails(golden_dir, tmp_path):
    directory = golden_dir("spar-tiny")
    tolerances = json.loads((directory / "tolerances.json").read_text())
    (tmp_path / "streams.safetensors").write_bytes((directory / "streams.safetensors").read_bytes())
    entries = tolerances["streams"] | {"semantic_block_9": tolerances["streams"]["semantic_block_0"]}
    (tmp_path / "tolerances.json").write_text(json.dumps({"streams": entries}))
    weights = weights_of(directory)
    assert all(row.passed for row in rows_of(directory, weights, "torch", ["streams"]))
    failed = [row for row in rows_of(tmp_path, weights, "torch") if not row.passed]
    assert [row.tensor for row in failed] == ["semantic_block_9"]
    (tmp_path / "streams.safetensors").unlink()
    assert not any(row.passed for row in rows_of(tmp_path, weights, "torch", ["streams"]))


def test_comparison_refuses_what_it_must():
    want = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    entry = {"atol": 1e-6}
    assert compare("f", "t", want.copy(), want, entry, None, None).passed
    assert not compare("f", "t", want + np.float32(3e-6), want, entry, None, None).passed
    assert not compare("f", "t", want.T, want, entry, None, None).passed
    assert not compare("f", "t", None, want, entry, None, None).passed
    broken = want.copy()
    broken[1, 1] = np.nan
    assert not compare("f", "t", broken, want, entry, None, None).passed
    mask = np.array([1, 0, 1])
    assert compare("f", "t", broken, want, entry, mask, None).passed
    assert not compare("f", "t", want * 1.2, want, entry, None, lambda: 0.1).passed
    assert compare("f", "t", want * 1.05, want, entry, None, lambda: 0.1).passed
    picture = np.zeros((10, 10, 3), np.uint8)
    assert not compare("f", "t", picture + 2, picture, {"exact": True}, None, None).passed
    assert not compare("f", "t", np.array([1, 2]), np.array([1, 3]), {"exact": True}, None, None).passed


def test_another_token_is_as_good_only_in_a_tie():
    logits = np.array([[[3.0, 2.99, -3.0], [3.0, 0.0, -3.0]]])
    want = np.array([[0, 0]])
    assert compare_tokens("f", "t", np.array([[0, 0]]), want, logits, 0.01).passed
    assert compare_tokens("f", "t", np.array([[1, 0]]), want, logits, 0.01).passed
    assert not compare_tokens("f", "t", np.array([[0, 1]]), want, logits, 0.01).passed
    assert not compare_tokens("f", "t", np.array([[0]]), want, logits, 0.01).passed
