"""The command spar-export: results, exit codes, one-line errors."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest
from spar_engine.config.serial import to_dict
from spar_export.cli import main

from .conftest import ODD


@pytest.fixture
def model(tmp_path):
    """The odd model as JSON, for random weights."""
    path = tmp_path / "model.json"
    path.write_text(json.dumps(to_dict(ODD)))
    return str(path)


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_export_and_status(capsys, model, tmp_path):
    random = ("--random-weights", "--seed", "3")
    code, out, err = run(capsys, "onnx", model, tmp_path / "out", *random, "--components", "lm_head,context")
    assert (code, out.split(": ")[1][:16]) == (0, "2 built, 0 fresh")
    assert "lm_head" in err
    assert "built in" in err
    code, out, _ = run(capsys, "onnx", model, tmp_path / "out", *random, "--components", "lm_head,context", "--json")
    assert code == 0
    assert {name: item["reasons"] for name, item in json.loads(out)["components"].items()} == {
        "lm_head": [],
        "context": [],
    }
    assert run(capsys, "status", tmp_path / "out") == (0, "context  fresh\nlm_head  fresh\n", "")
    code, out, _ = run(capsys, "status", tmp_path / "out", model, *random)
    assert code == 1
    assert "dit         stale: not built" in out
    assert "lm_head     fresh" in out
    code, out, _ = run(capsys, "status", tmp_path / "out", model, "--random-weights", "--json")
    assert json.loads(out)["components"]["lm_head"] == {"fresh": False, "reasons": ["the weights changed"]}


def test_in_place(capsys, tiny, tmp_path):
    directory = tmp_path / "checkpoint"
    shutil.copytree(tiny, directory)
    code, out, err = run(capsys, "onnx", directory, "--in-place", "-q", "--components", "modulation")
    assert (code, err) == (0, "")
    assert "1 built" in out
    assert (directory / "modulation.onnx").exists()
    code, out, _ = run(capsys, "status", directory, directory)
    assert "modulation  fresh" in out


def test_position_of_a_checkpoint(capsys, tiny, tmp_path):
    arguments = ("onnx", tiny, tmp_path, "-q", "--components", "modulation", "--dit-position")
    assert run(capsys, *arguments, "none")[0] == 0
    _, out, _ = run(capsys, *arguments, "sincos", "--json")
    assert json.loads(out)["components"]["modulation"]["reasons"] == ["the configuration changed"]


@pytest.mark.parametrize(("arguments", "said"), [
    (("onnx", "nowhere", "out"), "nowhere: no such directory; give a checkpoint directory or the name of a preset"),
    (("onnx", "spar-9b", "out", "--random-weights"), "spar-9b"),
    (("onnx", "spar-1b", "out", "--random-weights", "--components", "dti"), "component 'dti' is unknown"),
    (("onnx", "spar-1b", "out", "--random-weights", "--seed", "-1"), "seed=-1 must be a whole number of at least 0"),
    (("onnx", "x", "out", "--seed", "4"), "--seed 4 has no effect on a checkpoint; it belongs to --random-weights"),
    (("onnx", "spar-1b", "--random-weights"), "give the directory to write to as the second argument, or --in-place"),
    (("status", "nowhere"), "nowhere: holds no manifest.json; make one with: spar-export onnx CHECKPOINT nowhere"),
    (("status", "nowhere", "--dit-position", "none"), "need the model as the second argument"),
    (("convert", "nowhere.pth", "out"), "nowhere.pth"),
])  # fmt: skip
def test_errors_are_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith(f"spar-export {arguments[0]}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_packages(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    code, _, err = run(capsys, "onnx", "spar-1b", tmp_path / "out", "--random-weights")
    assert code == 2
    assert "exporting needs the package torch; pip install 'spar-engine[export]'" in err


def test_interrupt(model, tmp_path):
    """Ctrl-C while it traces: nothing is left, and the exit code says so."""
    command = [sys.executable, "-m", "spar_export", "onnx", model, str(tmp_path / "out"), "--random-weights"]
    environment = {"SPAR_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, text=True)
    assert "to build" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "interrupted; what was complete stays, nothing is half-written" in said
    assert [path for path in (tmp_path / "out").iterdir() if path.name != "manifest.json" and path.suffix == ""] == []


def test_status_needs_neither_torch_nor_onnx(tiny, tmp_path):
    main(["onnx", str(tiny), str(tmp_path), "-q", "--components", "lm_head"])
    code = ("import sys\nfrom spar_export.cli import main\ncode = main(['status', sys.argv[1]])\n"
            "sys.exit(code or bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.DEVNULL).returncode == 0
