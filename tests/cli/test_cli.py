"""The command `spar`, in process, on a small checkpoint."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from spar_engine.cli import main
from spar_engine.image import read_settings


@pytest.fixture(scope="module")
def checkpoint(golden_dir):
    return str(golden_dir("spar-tiny") / "checkpoint")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    Image.fromarray((np.random.default_rng(0).random((60, 90, 3)) * 255).astype(np.uint8)).save(path)
    return str(path)


def spar(*words):
    return main([str(word) for word in words])


def on(checkpoint):
    return "-m", checkpoint, "-b", "torch", "-q"


def test_generate_writes_pictures_that_remember_their_making(checkpoint, tmp_path, capsys):
    code = spar("generate", "a red boat", "a dog", *on(checkpoint), "--steps", 2, "--seed", 7, "-n", 2,
                "-o", tmp_path / "x.png", "--json")  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert [os.path.basename(entry["path"]) for entry in found["pictures"]] == [f"x-{n}.png" for n in range(4)]
    kept = read_settings(tmp_path / "x-2.png")
    assert (kept["prompt"], kept["seed"], kept["num_inference_steps"], kept["image"]) == ("a dog", 7, 2, 0)
    assert found["timings"]["components"]["dit"]["calls"] == 8


def test_a_size_from_the_command_line(checkpoint, tmp_path, capsys):
    assert spar("generate", "a boat", *on(checkpoint), "--steps", 1, "--size", "160x96", "-o", tmp_path / "x.png") == 0
    assert Image.open(tmp_path / "x.png").size == (160, 96)
    kept = read_settings(tmp_path / "x.png")
    assert (kept["size"], kept["outside_training_size"]) == ([96, 160], True)
    assert spar("generate", "a boat", *on(checkpoint), "--size", "100x96", "-o", tmp_path / "y.png") == 2
    assert "use 96 or 128" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        spar("generate", "a boat", *on(checkpoint), "--size", "wide")
    assert "'wide' is not of the form 512x768" in capsys.readouterr().err


def test_every_task_from_the_command_line(checkpoint, picture, tmp_path, capsys):
    assert spar("edit", picture, "make it blue", *on(checkpoint), "--steps", 2, "-o", tmp_path / "e.jpg") == 0
    assert read_settings(tmp_path / "e.jpg")["instruction"] == "make it blue"
    capsys.readouterr()
    assert spar("segment", picture, *on(checkpoint), "--steps", 2, "-o", tmp_path / "s.webp", "--json") == 0
    assert json.loads(capsys.readouterr().out)["regions"]
    assert spar("reconstruct", picture, *on(checkpoint), "-o", tmp_path / "r.png", "--size", 100, "--padded") == 0
    assert Image.open(tmp_path / "r.png").size == (100, 100)
    capsys.readouterr()
    assert spar("ask", picture, "What?", *on(checkpoint), "--max-new-tokens", 5, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert spar("ask", picture, "What?", *on(checkpoint), "--max-new-tokens", 5) == 0
    assert capsys.readouterr().out == answer["answer"] + "\n"


def test_info_tells_features_sizes_and_the_position_table(checkpoint, capsys):
    assert spar("info", checkpoint, "--json", "--verify") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"]["dtr"]["levels"] == [2, 4, 6, 8]
    assert found["features"]["dit_position"] == "sincos"
    assert len(found["ignored"]) == 6
    assert re.fullmatch("[0-9a-f]{64}", found["sha256"])
    assert spar("info", "spar-1b", "--random-weights", "--dit-position", "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"]["dit_position"] == "none"
    assert round(found["parameters"]["total"] / 1e6, 2) == round(1785.80 + 1.209 + 62.74, 2)
    assert spar("info", checkpoint) == 0
    assert "4 of 8 levels [2, 4, 6, 8]" in capsys.readouterr().out


def test_doctor_compares_with_golden_and_with_the_oracle(golden_dir, checkpoint, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert spar("doctor", checkpoint, "-b", "torch", "--golden", golden_dir("spar-tiny"), "--only", "streams",
                "--json", report, "-v") == 0  # fmt: skip
    found = json.loads(report.read_text())
    assert found["failed"] == 0
    assert {row["tensor"] for row in found["rows"]} >= {"fused", "latents", "pixel_block_2"}
    assert spar("doctor", checkpoint, "-b", "torch", "--only", "dit", "--only", "streams") == 0
    assert spar("doctor", checkpoint, "-b", "torch", "--golden", tmp_path) == 2
    assert "tolerances.json" in capsys.readouterr().err


def test_doctor_names_the_first_bad_layer(golden_dir, checkpoint, capsys, monkeypatch):
    from spar_engine.backends import choose

    class Broken:
        """The torch backend with the second DiT block's feed-forward off."""

        def __init__(self, inner):
            self.inner, self.precision = inner, inner.precision

        def run(self, component, inputs, taps=False):
            if component == "dit":
                module = self.inner.load("dit")
                weight = next(p for n, p in module.named_parameters() if "blocks.1.ff.conv_point" in n)
                kept = weight.data.clone()
                weight.data.mul_(1.01)
                try:
                    return self.inner.run(component, inputs, taps)
                finally:
                    weight.data.copy_(kept)
            return self.inner.run(component, inputs, taps)

    plain = choose.open_backend
    monkeypatch.setattr(choose, "open_backend", lambda *a, **k: Broken(plain(*a, **k)))
    assert spar("doctor", checkpoint, "-b", "torch", "--only", "dit") == 1
    out = capsys.readouterr().out
    assert "dit velocity" in out
    assert re.search(r"block_1\.ff\s+FAILED", out)
    assert "block_0" not in out


@pytest.mark.parametrize(("words", "message"), [
    (["generate", ""], "prompt is empty"),
    (["generate", "x", "--steps", "0"], "num_inference_steps=0"),
    (["generate", "x", "--guidance-scale", "nan"], "guidance_scale=nan"),
    (["generate", "x", "-o", "/nowhere/x.png"], "/nowhere"),
    (["generate", "x", "-o", "x.tiff"], ".tiff"),
    (["edit", "/nowhere.png", "x"], "/nowhere.png"),
    (["ask", "-", ""], "question is empty"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(checkpoint, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert spar(*words, *on(checkpoint)) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.write_bytes(b""), "empty"),
    (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99), "in.png"),
    (lambda path: Image.new("RGB", (1, 1)).save(path), "1x1"),
    (lambda path: Image.new("L", (30000, 3)).save(path), "30000"),
    (lambda path: Image.new("RGB", (8, 8)).save(
        path.with_suffix(".webp"), save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]
    ) or path.with_suffix(".webp").rename(path), "animated"),
])  # fmt: skip
def test_bad_pictures(checkpoint, make, message, capsys, tmp_path):
    make(tmp_path / "in.png")
    assert spar("edit", tmp_path / "in.png", "x", *on(checkpoint), "-o", tmp_path / "out.png") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()


def test_read_only_output(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert spar("generate", "x", *on(checkpoint), "-o", tmp_path / "x.png") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-1000]), "model.safetensors"),
    (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
])  # fmt: skip
def test_damaged_checkpoints(checkpoint, damage, message, capsys, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    assert spar("generate", "x", "-m", folder, "-b", "torch", "-q", "-o", tmp_path / "x.png") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_without_a_model_the_bundled_one_answers(tmp_path, capsys):
    assert spar("generate", "a red star", "--steps", 1, "-q", "--seed", 1, "-o", tmp_path / "x.png") == 0
    assert "random weights" not in capsys.readouterr().err
    assert Image.open(tmp_path / "x.png").size == (112, 112)
    assert spar("info") == 0
    assert "spar-nano" in capsys.readouterr().out


def test_interrupt_has_its_own_exit_code(checkpoint, tmp_path, monkeypatch, capsys):
    from spar_engine.api import Engine

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "generate", interrupted)
    assert spar("generate", "x", *on(checkpoint), "-o", tmp_path / "x.png") == 130
    assert "interrupted" in capsys.readouterr().err


def test_help_is_quick_and_loads_no_framework():
    code = "import sys; from spar_engine.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n" \
           "print(sorted({'torch', 'onnxruntime', 'PIL', 'tokenizers'} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
