"""Wheels in pieces and back: sizes, checks, damage."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from spar_engine.errors import ArtefactError, CheckpointError, InputError
from spar_export import cli
from spar_export.wheels import join, split

SIZES = {"a-1.0-py3-none-any.whl": (5 << 20) // 2, "b-1.0-py3-none-any.whl": 1 << 20, "c-1.0-py3-none-any.whl": 0}


@pytest.fixture
def wheels(tmp_path):
    made = {}
    for name, size in SIZES.items():
        made[name] = random.Random(name).randbytes(size)
        (tmp_path / name).write_bytes(made[name])
    return tmp_path, made


@pytest.fixture
def pieces(wheels):
    folder, made = wheels
    split([folder / name for name in made], folder / "pieces", 1 << 20)
    return folder / "pieces", made


def test_pieces_are_small_and_come_back(pieces):
    folder, made = pieces
    assert sorted(path.name.rpartition(".")[2] for path in folder.glob("a-*")) == ["part-000", "part-001", "part-002"]
    assert len(list(folder.glob("b-*"))) == len(list(folder.glob("c-*"))) == 1
    assert max(path.stat().st_size for path in folder.iterdir()) <= 1 << 20
    assert {path.name: path.read_bytes() for path in join(folder)} == made


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_a_shell_is_enough(pieces):
    folder, made = pieces
    subprocess.run(["sh", str(folder / "join.sh")], check=True, capture_output=True)
    assert {name: (folder / name).read_bytes() for name in made} == made
    (folder / "a-1.0-py3-none-any.whl.part-001").write_bytes(b"x")
    found = subprocess.run(["sh", str(folder / "join.sh")], capture_output=True, text=True)
    assert found.returncode != 0
    assert "part-001: FAILED" in found.stdout


def test_damage(pieces):
    folder, _ = pieces
    piece = folder / "a-1.0-py3-none-any.whl.part-001"
    data = piece.read_bytes()
    piece.write_bytes(data[:-1])
    with pytest.raises(ArtefactError, match=r"part-001: is damaged; copy it again"):
        join(folder)
    piece.unlink()
    with pytest.raises(ArtefactError, match=r"part-001: No such file"):
        join(folder)
    piece.write_bytes(data)
    text = (folder / "pieces.sha256").read_text()
    (folder / "pieces.sha256").write_text("".join(line for line in text.splitlines(True) if "part-002" not in line))
    with pytest.raises(ArtefactError, match=r"its pieces are not all there"):
        join(folder)
    (folder / "pieces.sha256").write_text(text.replace("a-1.0", "../a-1.0"))
    with pytest.raises(ArtefactError, match=r"is no checksum of a file"):
        join(folder)
    (folder / "wheels.sha256").unlink()
    (folder / "pieces.sha256").write_text(text)
    with pytest.raises(ArtefactError, match=r"wheels.sha256 is missing"):
        join(folder)
    assert not list(folder.glob("*.joining"))


def test_refusals(wheels):
    folder, made = wheels
    path = folder / next(iter(made))
    with pytest.raises(InputError, match="too small"):
        split([path], folder / "x", 10)
    with pytest.raises(InputError, match="is not a wheel"):
        split([folder / "pieces.txt"], folder / "x")
    with pytest.raises(InputError, match="the same name"):
        split([path, path], folder / "x")
    with pytest.raises(CheckpointError, match="not an empty directory"):
        split([path], folder)


def test_the_command(wheels, capsys):
    folder, made = wheels
    assert (
        cli.main(["wheels", "split", *(str(folder / name) for name in made), "-o", str(folder / "out"), "--size", "1"])
        == 0
    )
    assert "5 pieces of at most 1 MiB" in capsys.readouterr().out
    assert cli.main(["wheels", "join", str(folder / "out")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["wheels", "split", str(folder / next(iter(made)))]) == 2
