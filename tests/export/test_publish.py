"""Nothing half-written: kills, full disks, interrupts, two writers."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from spar_engine.backends.artefacts import Artefacts
from spar_engine.backends.manifest import read_manifest
from spar_engine.errors import ArtefactError
from spar_engine.weights import RandomWeights
from spar_export import publish
from spar_export.lock import NAME, locked
from spar_export.onnx import export_onnx, status
from spar_export.progress import Quiet

from .conftest import ODD

SOME = ("lm_head", "context", "modulation")

EXPORTING = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from spar_engine.weights import RandomWeights
from spar_export.onnx import export_onnx
from tests.export.conftest import ODD
import spar_export.publish, spar_export.traces
print("ready", flush=True)
for seed in range(1, 1000):
    export_onnx(RandomWeights(ODD, seed), Path(sys.argv[1]), only={some!r})
"""


@pytest.fixture
def weights():
    return RandomWeights(ODD, 3)


def leftovers(directory):
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))


def test_killed_at_any_moment(weights, tmp_path, pytestconfig):
    """A process that exports over and over is killed; each time what is listed is whole, and the next run completes."""
    root = str(pytestconfig.rootpath)
    export_onnx(weights, tmp_path, only=SOME)  # so that the children need not trace
    generator = random.Random(7)
    code = EXPORTING.format(root=root, some=SOME)
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0.0, 1.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for name, why in status(tmp_path).items():
            assert why == [], f"{name} is listed but not whole"
        listed = read_manifest(tmp_path).components
        assert all((tmp_path / entry.graph.file).exists() for entry in listed.values())
        export_onnx(weights, tmp_path, only=SOME)
        assert leftovers(tmp_path) == []
        assert set(status(tmp_path)) == set(SOME)
        assert not any(status(tmp_path, weights)[name] for name in SOME)


@pytest.mark.parametrize("step", range(12))
def test_stopped_before_any_rename(weights, tmp_path, monkeypatch, step):
    """Every rename of an export over older artefacts is in turn the one that never happens."""
    export_onnx(RandomWeights(ODD, 8), tmp_path, only=["lm_head", "modulation"])
    done = []
    plain = type(tmp_path).replace

    def replace(self, target):
        if tmp_path in type(tmp_path)(target).parents:
            done.append(target)
            if len(done) == step + 1:
                raise KeyboardInterrupt
        return plain(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", replace)
    try:
        export_onnx(weights, tmp_path, only=["lm_head", "modulation"])
        assert len(done) <= step
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    assert leftovers(tmp_path) == []
    for name, why in status(tmp_path).items():
        assert why == [], name
    export_onnx(weights, tmp_path, only=["lm_head", "modulation"])
    assert not any(status(tmp_path, weights)[name] for name in ("lm_head", "modulation"))


def test_full_disk(weights, tmp_path):
    """A child with a limit on the size of files stands for a disk without room."""
    code = (
        "import resource, signal, sys\n"
        f"sys.path.insert(0, {str(os.getcwd())!r})\n"
        "from spar_engine.weights import RandomWeights\n"
        "from spar_engine.errors import ArtefactError\n"
        "from spar_export.onnx import export_onnx\n"
        "from tests.export.conftest import ODD\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n"
        "    export_onnx(RandomWeights(ODD, 3), sys.argv[1], only=['lm_head'])\n"
        "except ArtefactError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "lm_head.safetensors: cannot be written (File too large)" in found.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_before_writing(weights, tmp_path, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(ArtefactError, match=r"lm_head needs 0.00 GB, 0.00 GB are free; make room"):
        export_onnx(weights, tmp_path, only=["lm_head"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["context.onnx", "manifest.json"])
def test_a_write_that_fails(weights, tmp_path, monkeypatch, name):
    plain = publish.write_file

    def write_file(path, data):
        if path.name != name:
            return plain(path, data)
        with publish.writing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publish, "write_file", write_file)
    with pytest.raises(ArtefactError, match=rf"{name}: cannot be written \(No space left on device\)"):
        export_onnx(weights, tmp_path, only=["context"])
    assert not (tmp_path / "manifest.json").exists()
    assert leftovers(tmp_path) == []


def test_a_directory_that_cannot_be_written(weights, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ArtefactError, match=r"out: cannot be written \(Read-only file system\); choose a directory"):
        export_onnx(weights, tmp_path / "out", only=["lm_head"])
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="file: cannot be written"):
        export_onnx(weights, tmp_path / "file", only=["lm_head"])


def test_two_writers_take_turns(tmp_path):
    order, waited = [], []

    def second():
        with locked(tmp_path, waited.append):
            order.append("second")

    with locked(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        while not waited:
            time.sleep(0.01)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert waited == [str(os.getpid())]
    assert not (tmp_path / NAME).exists()


def test_a_lock_ends_with_its_process(tmp_path):
    code = ("import sys, os, signal\nfrom pathlib import Path\nfrom spar_export.lock import locked\n"
            "with locked(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / NAME).exists()
    with locked(tmp_path, lambda holder: pytest.fail("waited for a dead process")):
        pass


def test_a_reader_never_sees_a_mixture(weights, tmp_path):
    """While another process replaces the artefacts, a reader gets whole ones or a refusal."""
    export_onnx(weights, tmp_path, only=["modulation"])
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                Artefacts(tmp_path, weights).graph("modulation")
            except ArtefactError as error:
                if not any(text in str(error) for text in ("the weights changed", "it is not there", "not the file")):
                    wrong.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for seed in range(4, 12):
        export_onnx(RandomWeights(ODD, seed), tmp_path, only=["modulation"], progress=Quiet())
    stop.set()
    reader.join()
    assert wrong == []
