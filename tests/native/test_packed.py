"""Packed weights as files: same results, shared, and refused when anything about them is wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest
from spar_engine.backends import packed
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.errors import ArtefactError
from spar_engine.weights import Checkpoint


@pytest.fixture(scope="module")
def checkpoint(golden_dir):
    return Checkpoint.open(golden_dir("spar-tiny/checkpoint"))


def run(checkpoint, cache, component="dit", precision="bf16"):
    opened = NativeBackend(checkpoint, precision=precision, threads=1, packed_cache=cache)
    given = components(checkpoint.config)[component].example(np.random.default_rng(2), tokens=20)
    return next(iter(opened.run(component, given).values()))


@pytest.mark.parametrize(
    ("component", "precision"),
    [(component, precision) for component in ("dit", "decoder", "condition") for precision in ("fp32", "bf16", "int8")]
    + [("lm_head", "int4")],
)
def test_mapped_equals_packed(checkpoint, tmp_path, component, precision):
    if component == "condition":
        opened = [NativeBackend(checkpoint, precision=precision, threads=1, packed_cache=tmp_path) for _ in range(2)]
        given = components(checkpoint.config)[component].example(np.random.default_rng(2), rows=20, tokens=20)
        first, second = (one.run(component, given)["caption"] for one in opened)
    else:
        first, second = (run(checkpoint, tmp_path, component, precision) for _ in range(2))
    np.testing.assert_array_equal(second, first)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith(f"{component}-{precision}-")


def test_the_file_is_used(checkpoint, tmp_path):
    """A changed weight in a file with a fitting checksum changes the result."""
    first = run(checkpoint, tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    key = data[32 : 32 + 32].hex()
    packed.write(file, key, memoryview(bytes(data[4096:])))
    assert not np.array_equal(run(checkpoint, tmp_path), first)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda data: data[:-1], "its header says"), (lambda data: data[:100], "cut short"),
    (lambda data: b"X" + data[1:], "header is of something else"),
    (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "checksum does not fit"),
])  # fmt: skip
def test_damage_is_refused_and_made_again(checkpoint, tmp_path, damage, message, caplog):
    first = run(checkpoint, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.raises(ArtefactError, match=f"{message}.*delete the file"):
        packed.read(file, whole[32:64].hex())
    np.testing.assert_array_equal(run(checkpoint, tmp_path), first)
    assert message in caplog.text
    assert "it is made again" in caplog.text
    assert file.read_bytes() == whole


def test_a_file_that_cannot_be_written_is_not_kept(checkpoint, tmp_path, caplog):
    first = run(checkpoint, None)
    (tmp_path / "cache").write_text("in the way")
    np.testing.assert_array_equal(run(checkpoint, tmp_path / "cache"), first)
    assert "cannot be kept" in caplog.text
    assert (tmp_path / "cache").read_text() == "in the way"


def test_what_a_killed_process_left_is_removed_later(checkpoint, tmp_path):
    run(checkpoint, tmp_path)
    (file,) = tmp_path.iterdir()
    old, new = (tmp_path / f".{file.name}.{name}" for name in ("old", "new"))
    for left in (old, new):
        left.write_bytes(b"x")
    os.utime(old, (1, 1))
    file.unlink()
    run(checkpoint, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([file, new])


def test_keys_tell_apart(checkpoint):
    one = packed.key_of("dit", "bf16", [1], "ab")
    assert one == packed.key_of("dit", "bf16", [1], "ab")
    others = [
        ("vision", "bf16", [1], "ab"),
        ("dit", "int8", [1], "ab"),
        ("dit", "int4", [1], "ab"),
        ("dit", "bf16", [2], "ab"),
        ("dit", "bf16", [1], "cd"),
    ]
    assert one not in {packed.key_of(*other) for other in others}
