"""What the reader of artefacts refuses, each time naming the thing and the command that makes it anew."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from spar_engine.backends.artefacts import Artefacts
from spar_engine.backends.manifest import is_plain_name, read_manifest
from spar_engine.backends.onnxruntime import OnnxRuntimeBackend
from spar_engine.components import components
from spar_engine.errors import ArtefactError
from spar_engine.weights import Checkpoint, RandomWeights
from spar_export.onnx import export_onnx


@pytest.fixture(scope="module")
def made(golden_dir, tmp_path_factory):
    """Artefacts of two components, and their weights."""
    weights = Checkpoint.open(golden_dir("unilip-tiny") / "checkpoint")
    directory = tmp_path_factory.mktemp("made")
    export_onnx(weights, directory, only=["lm_head", "modulation"])
    return directory, weights


@pytest.fixture
def out(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def weights(made):
    return made[1]


def use(out, weights, component="lm_head"):
    artefacts = Artefacts(out, weights)
    artefacts.graph(component)
    artefacts.folder(component)


def refusal(out, weights):
    """What is said of the artefacts, or None when they are used."""
    try:
        use(out, weights)
    except ArtefactError as error:
        return str(error)
    return None


def edit(out, change):
    path = out / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_whole_artefacts(out, weights):
    artefacts = Artefacts(out, weights)
    assert artefacts.graph("lm_head") == (out / "lm_head.onnx").read_bytes()
    assert artefacts.folder("lm_head") == out


def test_missing_things(out, weights, tmp_path):
    command = rf"rebuild with: spar-export onnx {weights.directory} {out} --components"
    with pytest.raises(ArtefactError, match=rf"component 'dit': it is not there; {command} dit$"):
        use(out, weights, "dit")
    with pytest.raises(ArtefactError, match=rf"built without taps; {command} lm_head --taps$"):
        Artefacts(out, weights).graph("lm_head", taps=True)
    (out / "lm_head.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"lm_head.onnx cannot be read \(No such file or directory\)"):
        use(out, weights)
    (out / "modulation.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"modulation.safetensors is missing"):
        use(out, weights, "modulation")
    with pytest.raises(ArtefactError, match=r"holds no manifest.json; make one with: spar-export onnx CHECKPOINT"):
        Artefacts(tmp_path / "nowhere", weights)


def test_other_weights_and_configurations(out, weights, golden_dir):
    with pytest.raises(ArtefactError, match=r"component 'lm_head': the configuration changed; rebuild with"):
        use(out, Checkpoint.open(golden_dir("spar-tiny") / "checkpoint"))
    with pytest.raises(ArtefactError, match=r"component 'lm_head': the weights changed; rebuild with"):
        use(out, RandomWeights(weights.config))


@pytest.mark.parametrize("name", ["../lm_head.onnx", "/etc/passwd", "sub/lm_head.onnx", ".hidden", "", "a\\b", ".."])
def test_names_that_are_paths(out, weights, name):
    assert not is_plain_name(name)
    for change in (
        lambda values: values["components"]["lm_head"]["graph"].update(file=name),
        lambda values: values["components"]["lm_head"]["weights"][0].update(file=name),
        lambda values: values["components"]["lm_head"]["weights"][0].update(location=name),
    ):
        before = (out / "manifest.json").read_text()
        edit(out, change)
        with pytest.raises(ArtefactError, match="not a file of this directory"):
            use(out, weights)
        (out / "manifest.json").write_text(before)


@pytest.mark.parametrize("file", ["lm_head.onnx", "lm_head.safetensors"])
def test_links_that_lead_out(out, weights, tmp_path, file):
    (out / file).rename(tmp_path / file)
    (out / file).symlink_to(tmp_path / file)
    with pytest.raises(ArtefactError, match=rf"{file} leads out of the directory, to {tmp_path / file}"):
        use(out, weights)


@pytest.mark.parametrize(("change", "said"), [
    (lambda v: v.update(format="spar-artefacts 9"), "its format is not 'spar-artefacts 1'"),
    (lambda v: v.pop("format"), "its format is not"),
    (lambda v: v.update(more=1), "must have exactly the fields"),
    (lambda v: v["components"]["lm_head"].pop("source"), "manifest.components.lm_head must have exactly"),
    (lambda v: v["components"]["lm_head"].update(in_place=1), "in_place is not of type bool"),
    (lambda v: v["components"]["lm_head"]["graph"].update(size="3"), "graph.size is not of type int"),
    (lambda v: v["components"]["lm_head"].update(weights={}), "weights is not of type tuple"),
    (lambda v: v.update(components=[]), "manifest.components is not of type dict"),
])  # fmt: skip
def test_manifests_of_another_form(out, weights, change, said):
    edit(out, change)
    with pytest.raises(ArtefactError, match=said) as caught:
        use(out, weights)
    assert "rebuild with" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{" * 100_000, "\x00"])
def test_manifests_that_are_none(out, text):
    (out / "manifest.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        read_manifest(out)


def test_manifests_that_are_not_text(out):
    (out / "manifest.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ArtefactError, match=r"manifest.json: cannot be read"):
        read_manifest(out)


def test_random_damage_is_refused(out, weights):
    """120 flipped bits and cut files: graphs, weights and manifests."""
    generator = random.Random(11)
    files = ["lm_head.onnx", "lm_head.safetensors", "manifest.json"]
    refused = 0
    for trial in range(120):
        path = out / files[trial % 3]
        data = path.read_bytes()
        if trial % 4 == 3:
            path.write_bytes(data[: generator.randrange(len(data))])
        else:
            damaged = bytearray(data)
            damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            path.write_bytes(damaged)
        said = refusal(out, weights)
        if said is None:  # only what nothing depends on may pass: texts of the manifest that are no digests
            assert path.name == "manifest.json"
            before, after = (json.loads(text)["components"]["lm_head"] for text in (data, path.read_bytes()))
            kept = ("graph", "weights", "in_place", "parameters", "source", "spec")
            assert [before[key] for key in kept] == [after[key] for key in kept]
        else:
            assert "\n" not in said
            refused += 1
        path.write_bytes(data)
    assert refused >= 90
    use(out, weights)


def test_a_session_reads_the_files_that_were_verified(out, weights, monkeypatch):
    """Another file under the same name, put there after the check, is not read."""
    backend = OnnxRuntimeBackend(weights, artefacts=out, threads=1)
    given = components(weights.config)["lm_head"].example(np.random.default_rng(1))
    wanted = backend.run("lm_head", given)["logits"]
    verified = Artefacts.files

    def replaced(self, component):
        files = verified(self, component)
        for file in files.values():
            other = file.path.with_suffix(".other")
            other.write_bytes(bytes(file.path.stat().st_size))
            other.replace(file.path)
        return files

    monkeypatch.setattr(Artefacts, "files", replaced)
    backend.unload("lm_head")
    np.testing.assert_array_equal(backend.run("lm_head", given)["logits"], wanted)
    monkeypatch.undo()
    backend.unload("lm_head")
    with pytest.raises(ArtefactError, match="its header is not JSON"):
        backend.run("lm_head", given)
