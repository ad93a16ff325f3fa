"""Pickled state dicts become checkpoint directories, or leave nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from spar_engine.errors import CheckpointError, ConfigError, SparError
from spar_engine.weights import Checkpoint
from spar_export.convert import convert


@pytest.fixture
def state(golden) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tiny SPAR's image tokenizer under the names of its own file, and canonical name -> that name."""
    names = json.loads(golden("spar-tiny/image_tokenizer_key_names.json").read_text())
    checkpoint = Checkpoint.open(golden("spar-tiny/checkpoint"))
    return {theirs: torch.from_numpy(checkpoint.f32(ours)) for ours, theirs in names.items()}, names


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_image_tokenizer_round_trip(zipped: bool, dtype: torch.dtype, state, golden, tmp_path):
    tensors, names = state
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    torch.save(tensors | {"head.regressor.0.weight": torch.zeros(3)}, tmp_path / "1b.pth",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    seen = []
    made = convert(tmp_path / "1b.pth", tmp_path / "out", config=golden("spar-tiny/checkpoint"),
                   progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert made.left_out == ("head.regressor.0.weight",)
    assert made.tensors == len(names) == seen[-1][0] == seen[-1][1]
    checkpoint = Checkpoint.open(tmp_path / "out")
    assert checkpoint.parts == {"vision", "streams", "decoder"}
    assert set(checkpoint.names()) == names.keys()
    for ours, theirs in names.items():
        np.testing.assert_array_equal(checkpoint.f32(ours), tensors[theirs].float().numpy())
    original = Checkpoint.open(golden("spar-tiny/checkpoint")).config
    assert (checkpoint.config.vision, checkpoint.config.streams) == (original.vision, original.streams)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == golden(
        "spar-tiny/checkpoint/tokenizer.json"
    ).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} >= {"1b.pth", "out"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_whole_model_takes_the_configuration_beside_it(golden, tiny, tmp_path):
    checkpoint = Checkpoint.open(tiny)
    want = {name: checkpoint.f32(name) for name in checkpoint.names()}
    torch.save({name: torch.from_numpy(array) for name, array in want.items()}, tiny / "pytorch_model.bin")
    (tiny / "model.safetensors").unlink()
    convert(tiny / "pytorch_model.bin", tmp_path / "out")
    after = Checkpoint.open(tmp_path / "out")
    assert after.config == checkpoint.config
    for name, array in want.items():
        np.testing.assert_array_equal(after.f32(name), array)


def test_shared_and_strided_tensors_are_written_whole(state, golden, tmp_path):
    tensors, names = state
    name = names["model.multi_modal_projector.3.weight"]
    tensors[name] = tensors[name].t().contiguous().t()
    torch.save(tensors, tmp_path / "x.pth")
    convert(tmp_path / "x.pth", tmp_path / "out", config=golden("spar-tiny/checkpoint"))
    made = Checkpoint.open(tmp_path / "out")
    np.testing.assert_array_equal(made.f32("model.multi_modal_projector.3.weight"), tensors[name].numpy())


class Code:
    def __reduce__(self):
        return (print, ("code ran",))


FAULTS = {
    "nested": ({"model": {"a": torch.zeros(1)}}, "nested, 'model' is a dict of 1; save that one alone"),
    "not a dict": ([torch.zeros(1)], "holds a list, not a dict"),
    "empty": ({}, "holds a dict, not a dict of tensors|is empty"),
    "a number": ({"step": 3}, "'step' is a int, not a tensor"),
    "key is a number": ({3: torch.zeros(1)}, "has the key 3"),
    "whole numbers": ({"encoder.x": torch.zeros(1, dtype=torch.int64)}, "torch.int64"),
    "sparse": ({"encoder.x": torch.eye(3).to_sparse()}, "dense"),
    "code": ({"a": Code()}, "print"),
    "module": (torch.nn.Linear(2, 2), "Linear"),
    "twice": ({"mlp1.0.bias": torch.zeros(1), "multi_modal_projector.0.bias": torch.zeros(1)}, "both mean"),
    "unknown names": ({"a": torch.zeros(1)}, "lacks"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_state_dict(fault: str, tmp_path, capsys):
    content, message = FAULTS[fault]
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(SparError, match=message) as caught:
        convert(tmp_path / "x.pth", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]
    assert "code ran" not in capsys.readouterr().out


def test_damaged_files(state, tmp_path):
    torch.save(state[0], tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    for name, content in {"empty.pth": b"", "cut.pth": whole[: len(whole) // 2], "noise.pth": bytes(range(256)) * 9,
                          "text.pth": b"hello"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            convert(tmp_path / name, tmp_path / "out")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(tmp_path / "absent.pth", tmp_path / "out")
    with pytest.raises(CheckpointError, match="need no conversion"):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_incomplete_state_names_what_is_missing(state, golden, tmp_path):
    tensors, _ = state
    del tensors["mlp1.3.bias"]
    torch.save(tensors, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth.*1 missing: `model.multi_modal_projector.3.bias`"):
        convert(tmp_path / "x.pth", tmp_path / "out", config=golden("spar-tiny/checkpoint"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["x.pth"]


def test_unpublished_size_needs_a_configuration(state, tmp_path):
    torch.save(state[0], tmp_path / "x.pth")
    with pytest.raises(ConfigError, match="lacks"):
        convert(tmp_path / "x.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_place_that_is_taken(state, golden, tmp_path):
    torch.save(state[0], tmp_path / "x.pth")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(CheckpointError, match="exists and is not an empty directory"):
        convert(tmp_path / "x.pth", tmp_path / "out", config=golden("spar-tiny/checkpoint"))
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_full_disk(state, golden, tmp_path, monkeypatch):
    torch.save(state[0], tmp_path / "x.pth")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        convert(tmp_path / "x.pth", tmp_path / "out", config=golden("spar-tiny/checkpoint"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["x.pth"]


def test_only_convert_reads_pickle():
    """No other module of the project names a reader of pickles."""
    root = Path(__file__).parents[2]
    readers = {path.relative_to(root).as_posix() for folder in ("engine", "export", "bench")
               for path in (root / folder).rglob("*.py")
               if any(word in path.read_text() for word in ("torch.load(", "pickle.load", "import pickle"))
               }  # fmt: skip
    assert readers == {"export/convert.py"}
