"""Digests of tensors: right after every kind of change, and cheap when nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from spar_engine.weights import SafetensorsFile, write_safetensors
from spar_engine.weights import digest as digest_module
from spar_engine.weights.digest import cache_directory, tensor_digests

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def save(path: Path, array: np.ndarray = ARRAY) -> None:
    write_safetensors(path, [("x", "F32", array.shape, lambda: array), ("none", "F32", (0,), lambda: array[:0, 0])])


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the tensors that were really read."""
    seen: list[str] = []
    real = digest_module._digest
    monkeypatch.setattr(digest_module, "_digest", lambda file, name: seen.append(name) or real(file, name))
    return seen


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files count as settled at once: the clock runs ahead."""
    now = time.time
    monkeypatch.setattr(digest_module.time, "time", lambda: now() + 60)


def test_digest_is_sha256_of_the_bytes(tmp_path):
    save(tmp_path / "x")
    found = tensor_digests(SafetensorsFile(tmp_path / "x"))
    assert found == {"x": hashlib.sha256(ARRAY.tobytes()).hexdigest(), "none": hashlib.sha256().hexdigest()}


def test_second_call_reads_nothing(tmp_path, reads, settled):
    save(tmp_path / "x")
    first = tensor_digests(SafetensorsFile(tmp_path / "x"))
    count = len(reads)
    assert tensor_digests(SafetensorsFile(tmp_path / "x")) == first
    assert len(reads) == count == 2


def test_fresh_file_is_not_remembered(tmp_path, reads):
    save(tmp_path / "x")
    tensor_digests(SafetensorsFile(tmp_path / "x"))
    assert not (cache_directory() / "digests").exists()


def test_changed_content_is_seen_though_size_and_time_are_kept(tmp_path, settled):
    path = tmp_path / "x"
    save(path)
    first, stat = tensor_digests(SafetensorsFile(path)), path.stat()
    time.sleep(0.02)
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x01\x02\x03\x04")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert tensor_digests(SafetensorsFile(path))["x"] != first["x"]


def test_a_changed_digest_is_noticed(tmp_path, settled):
    save(tmp_path / "x")
    first = tensor_digests(SafetensorsFile(tmp_path / "x"))
    (entry,) = (cache_directory() / "digests").iterdir()
    kept = entry.read_text()
    entry.write_text(kept.replace(first["x"], first["x"][::-1]))
    assert tensor_digests(SafetensorsFile(tmp_path / "x")) == first
    assert entry.read_text() == kept


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"file": 3}', '{"file": IDENTITY}', '{"file": IDENTITY, "tensors": ["x"]}']
)
def test_damaged_cache_is_made_again(content: str, tmp_path, settled):
    save(tmp_path / "x")
    first = tensor_digests(SafetensorsFile(tmp_path / "x"))
    (entry,) = (cache_directory() / "digests").iterdir()
    held = json.loads(entry.read_text().split("\n", 1)[1])
    text = content.replace("IDENTITY", json.dumps(held["file"]))
    entry.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    assert tensor_digests(SafetensorsFile(tmp_path / "x")) == first


def test_cache_that_cannot_be_written(tmp_path, monkeypatch, settled):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path / "file"))
    save(tmp_path / "x")
    assert "x" in tensor_digests(SafetensorsFile(tmp_path / "x"))


def test_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("SPAR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "spar-engine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "spar-engine"
