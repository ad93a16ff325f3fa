"""What is stale, why, and that nothing else is made again."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from spar_engine.backends import identity
from spar_engine.backends.artefacts import Artefacts
from spar_engine.components import components
from spar_engine.errors import ArtefactError, InputError
from spar_engine.weights import Checkpoint, RandomWeights, SafetensorsFile
from spar_export import versions as version_module
from spar_export.onnx import export_onnx, status

from .conftest import ODD

SOME = ("lm_head", "context", "modulation")


def reasons(built):
    return {item.name: item.reasons for item in built if item.reasons}


@pytest.fixture
def weights():
    return RandomWeights(ODD, 3)


@pytest.fixture
def out(weights, tmp_path):
    export_onnx(weights, tmp_path / "out", only=SOME)
    return tmp_path / "out"


def test_the_first_export_and_the_second(weights, tmp_path):
    first = export_onnx(weights, tmp_path / "out", only=SOME)
    assert reasons(first) == {name: ["not built"] for name in SOME}
    assert all(item.nodes and item.bytes and item.seconds for item in first)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert reasons(export_onnx(weights, tmp_path / "out", only=SOME)) == {}
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    assert sorted(times) == sorted(
        ["manifest.json", *(f"{n}.{kind}" for n in SOME for kind in ("onnx", "safetensors"))]
    )


def test_only_what_changed_is_made_again(weights, out):
    (out / "context.onnx").write_bytes(b"edited")
    (out / "modulation.safetensors").unlink()
    found = status(out, weights)
    assert found["lm_head"] == []
    assert found["context"] == ["context.onnx is not the file that the manifest describes"]
    assert found["modulation"] == ["modulation.safetensors is missing"]
    assert found["dit"] == ["not built"]
    assert set(reasons(export_onnx(weights, out, only=SOME))) == {"context", "modulation"}
    assert [name for name, why in status(out, weights).items() if not why] == sorted(
        SOME, key=list(components(ODD)).index
    )


def test_other_weights(out):
    assert reasons(export_onnx(RandomWeights(ODD, 4), out, only=["lm_head"])) == {"lm_head": ["the weights changed"]}


def test_other_weights_of_one_component(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "checkpoint")
    export_onnx(Checkpoint.open(tmp_path / "checkpoint"), tmp_path / "out", only=SOME)
    name = "model.dit.caption_norm.weight"
    file = SafetensorsFile(tmp_path / "checkpoint" / "model.safetensors")
    place = file.tensors[name].begin
    data = bytearray((tmp_path / "checkpoint" / "model.safetensors").read_bytes())
    data[place : place + 4] = np.float32(0.5).tobytes()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(data)
    changed = Checkpoint.open(tmp_path / "checkpoint")
    assert reasons(export_onnx(changed, tmp_path / "out", only=SOME)) == {"context": ["the weights changed"]}


def test_another_configuration(out):
    warmer = dataclasses.replace(ODD, dit=dataclasses.replace(ODD.dit, position="sincos"))
    found = status(out, RandomWeights(warmer, 3))
    assert found["lm_head"] == []
    assert found["context"] == ["the configuration changed"]


def test_changed_code_and_libraries(weights, out, monkeypatch):
    monkeypatch.setattr(version_module, "version", lambda package: "99.0")
    assert "torch was " in status(out, weights)["lm_head"][0]
    assert status(out, weights)["lm_head"][0].endswith("is 99.0")
    monkeypatch.undo()
    monkeypatch.setattr("spar_export.freshness.recipe_sha256", lambda: "0" * 64)
    assert status(out, weights)["lm_head"] == ["the exporter or the modules changed"]


def test_a_new_graph_keeps_weights_that_are_the_same(weights, out, monkeypatch):
    before = (out / "lm_head.safetensors").stat().st_ino
    (out / "lm_head.onnx").unlink()
    built = export_onnx(weights, out, only=["lm_head"])
    assert reasons(built) == {"lm_head": ["lm_head.onnx cannot be read (No such file or directory)"]}
    assert (out / "lm_head.safetensors").stat().st_ino == before
    assert status(out, weights)["lm_head"] == []


def test_taps_on_demand(weights, out):
    assert reasons(export_onnx(weights, out, only=["context"], taps=True)) == {"context": ["built without taps"]}
    assert (out / "context.taps.onnx").exists()
    assert reasons(export_onnx(weights, out, only=["context"])) == {}


def test_every_part_of_the_configuration_that_a_module_reads_counts():
    """The configuration behind a graph's freshness holds all that building and tracing its module looks at."""
    from spar_engine.modules.cuts import CUTS

    class Watched:
        def __init__(self):
            self.read = set()

        def __getattr__(self, name):
            self.read.add(name)
            return getattr(ODD, name)

    import torch

    for name, kind in CUTS.items():
        config = Watched()
        with torch.device("meta"):
            kind(config)
        known = set(identity._READS[name]) | (
            {"levels"} if {"language", "router"} <= set(identity._READS[name]) else set()
        )
        assert config.read - {"read"} <= known, name


def test_the_recipe_is_the_code():
    found = identity.recipe_sha256()
    assert len(found) == 64
    files = [path for patterns in identity._RECIPE.values() for path in patterns]
    assert "trace.py" in files
    assert "modules/**/*.py" in files


def test_status_without_a_model(out):
    assert status(out) == {name: [] for name in SOME}
    (out / "lm_head.safetensors").write_bytes(b"x")
    assert status(out)["lm_head"] == ["lm_head.safetensors is not the file that the manifest describes"]


def test_refusals(weights, tmp_path):
    with pytest.raises(InputError, match="component 'ditt' is unknown"):
        export_onnx(weights, tmp_path, only=["ditt"])
    with pytest.raises(ArtefactError, match=r"holds no manifest.json; make one with: spar-export onnx CHECKPOINT"):
        status(tmp_path / "nothing")
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "of something else"}))
    with pytest.raises(ArtefactError, match=r"manifest.json: belongs to something else; choose another directory"):
        export_onnx(weights, tmp_path, only=["lm_head"])
    (tmp_path / "manifest.json").write_text('{"format": "spar-artefacts 1", "comp')
    assert reasons(export_onnx(weights, tmp_path, only=["lm_head"])) == {"lm_head": ["not built"]}


def test_in_place_weights_are_the_checkpoints_own(tiny, tmp_path):
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny, directory)
    before = (directory / "model.safetensors").read_bytes()
    weights = Checkpoint.open(directory)
    export_onnx(weights, directory, only=SOME, in_place=True)
    assert (directory / "model.safetensors").read_bytes() == before
    assert [path.name for path in directory.glob("*.safetensors")] == ["model.safetensors"]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(directory / "context.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_outputs()] == ["cross_keys", "cross_values"]
    assert reasons(export_onnx(weights, directory, only=SOME, in_place=True)) == {}
    assert status(directory, weights)["context"] == []
    why = {"context": ["its weights are to be copied"]}
    assert reasons(export_onnx(weights, directory, only=["context"])) == why
    assert (directory / "context.safetensors").exists()
    export_onnx(weights, directory, only=["lm_head"], in_place=True)
    moved = tmp_path / "moved"
    directory.rename(moved)
    assert Artefacts(moved, Checkpoint.open(moved)).folder("lm_head") == moved


def test_in_place_needs_files(weights, tmp_path):
    with pytest.raises(ArtefactError, match=r"is not stored as one tensor of the checkpoint; leave out --in-place"):
        export_onnx(weights, tmp_path, only=["lm_head"], in_place=True)


def test_links_are_followed_to_the_file_they_name(tiny, tmp_path):
    """As a Hugging Face cache lays a checkpoint out: names in one folder, files in another."""
    blobs, directory = tmp_path / "blobs", tmp_path / "snapshot"
    shutil.copytree(tiny, directory)
    blobs.mkdir()
    (directory / "model.safetensors").rename(blobs / "0a1b")
    (directory / "model.safetensors").symlink_to("../blobs/0a1b")
    weights = Checkpoint.open(directory)
    export_onnx(weights, tmp_path / "out", only=["lm_head"], in_place=True)
    assert Artefacts(tmp_path / "out", weights).folder("lm_head") == blobs
    assert status(tmp_path / "out", weights)["lm_head"] == []
