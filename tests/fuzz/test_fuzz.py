"""Seeds, kept corpus and plain mutations through every target; and, where atheris is installed, SPAR_FUZZ_SECONDS of it
each: 60 in continuous integration, 1 unless said otherwise."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("fuzz_targets", HERE / "targets.py")
targets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(targets)
MUTATIONS = {"tokenizer": 40, "vocabulary": 100, "request": 60, "config": 100}
PIECES = (b"", b"\0", b"\xff" * 8, b"{", b"}", b'"', b"-1", b"1e999", b"NaN", b"null", b"[" * 300, b"9" * 400,
          b"\xed\xa0\x80", b"../x", b"true")  # fmt: skip


def mutated(rng, data):
    """`data` with one to four small changes."""
    for _ in range(int(rng.integers(1, 5))):
        at, width = int(rng.integers(len(data) + 1)), int(rng.integers(0, 9))
        kind = rng.integers(4)
        if kind == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + PIECES[int(rng.integers(len(PIECES)))] + data[at + width :]
        elif kind == 2:
            data = data[:at] + data[at + width :]
        else:
            data = data[:at] + data[at : at + 40] + data[at:]
    return data


def needed(name):
    if name == "request":
        pytest.importorskip("fastapi")
        pytest.importorskip("httpx")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_mutations_are_refused_or_read(name):
    needed(name)
    given, rng = targets.seeds(name), np.random.default_rng(3)
    for data in given:
        targets.once(name, data)
    for number in range(MUTATIONS.get(name, 300)):
        data = mutated(rng, given[number % len(given)])
        try:
            targets.once(name, data)
        except BaseException as error:
            pytest.fail(f"{name}: {type(error).__name__}: {error}: {data[:400]!r}")


@pytest.mark.parametrize(
    "name", ["config", "safetensors", "manifest", "packed", "tokenizer", "vocabulary", "text", "image"]
)
def test_the_seeds_are_accepted(name):
    """Else the mutations would only ever reach the first check."""
    for data in targets.SEEDS[name]()[:1]:
        targets.TARGETS[name](data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_some_seconds_of_atheris(name, tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed; it has wheels for some Pythons on Linux only")
    needed(name)
    seconds = int(os.environ.get("SPAR_FUZZ_SECONDS", "1"))
    command = [sys.executable, str(HERE / "run.py"), name, "--seconds", str(seconds), "--corpus", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300 + 3 * seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.glob("*/finding-*"))
    assert int(done.stderr.split("number_of_executed_units:")[1].split()[0]) > 3
