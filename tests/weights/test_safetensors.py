"""The reader against the safetensors library, and against every way a header can lie."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spar_engine.errors import CheckpointError
from spar_engine.weights import SafetensorsFile, write_safetensors


def raw_file(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape: list, begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refused(path: Path) -> str:
    """The one-line message with which opening `path` fails; it names the file."""
    with pytest.raises(CheckpointError) as caught:
        SafetensorsFile(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_reads_what_the_library_writes(tmp_path: Path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((3, 5)).astype(np.float32),
        "b.half": rng.standard_normal((7,)).astype(np.float16),
        "c.double": rng.standard_normal((2, 2, 2)),
        "d.brain": rng.standard_normal((4, 3)).astype(ml_dtypes.bfloat16),
        "e.ids": np.arange(6, dtype=np.int64),
        "f.flags": np.array([True, False]),
        "g.scalar": np.array(2.5, np.float32),
        "h.none": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(arrays, path, {"note": "text"})
    file = SafetensorsFile(path)
    assert file.metadata == {"note": "text"}
    assert file.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        raw = file.raw(name)
        assert raw.shape == array.shape
        assert not raw.flags.writeable
        assert raw.tobytes() == array.tobytes()
        if array.dtype.kind in "iub":
            with pytest.raises(CheckpointError, match="a parameter must be one of"):
                file.f32(name)
        else:
            values = file.f32(name)
            assert values.dtype == np.float32
            assert values.flags.writeable
            np.testing.assert_array_equal(values, array.astype(np.float32))
    with pytest.raises(CheckpointError, match="holds no tensor `z`"):
        file.raw("z")


def test_library_reads_what_we_write(tmp_path: Path):
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**16, (5, 3), dtype=np.uint16)
    arrays = {"x": ("F32", rng.standard_normal((3, 3)).astype(np.float32)), "y": ("BF16", bits),
              "z": ("F16", rng.standard_normal(5).astype(np.float16)),
              "odd": ("U8", np.arange(3, dtype=np.uint8))}  # fmt: skip
    path = tmp_path / "x.safetensors"
    items = [(name, dtype, array.shape, lambda a=array: a) for name, (dtype, array) in arrays.items()]
    write_safetensors(path, items, {"format": "pt"})
    loaded = safetensors.numpy.load_file(path)
    for name, (_, array) in arrays.items():
        assert loaded[name].tobytes() == array.tobytes()
    assert [info.begin % 2 for name, info in SafetensorsFile(path).tensors.items() if name != "odd"] == [0, 0, 0]


def test_float8_as_ml_dtypes_has_it(tmp_path: Path):
    codes = np.arange(256, dtype=np.uint8)
    path = tmp_path / "x.safetensors"
    items = [("e4m3", "F8_E4M3", (256,), lambda: codes), ("e5m2", "F8_E5M2", (256,), lambda: codes)]
    write_safetensors(path, items)
    file = SafetensorsFile(path)
    np.testing.assert_array_equal(file.f32("e4m3"), codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32))
    np.testing.assert_array_equal(file.f32("e5m2"), codes.view(ml_dtypes.float8_e5m2).astype(np.float32))


def test_tensor_at_an_odd_place(tmp_path: Path):
    values = np.linspace(-1, 1, 6).astype(ml_dtypes.bfloat16)
    header = {"pad": entry([1], 0, 1, "U8"), "x": entry([2, 3], 1, 13, "BF16")}
    file = SafetensorsFile(raw_file(tmp_path / "x", header, b"\0" + values.tobytes()))
    np.testing.assert_array_equal(file.f32("x"), values.astype(np.float32).reshape(2, 3))


def test_large_tensor_survives_release(tmp_path: Path):
    array = np.arange(1 << 19, dtype=np.float32)
    path = tmp_path / "x.safetensors"
    write_safetensors(path, [("x", "F32", array.shape, lambda: array)])
    file = SafetensorsFile(path)
    view = file.raw("x")
    np.testing.assert_array_equal(file.f32("x"), array)
    np.testing.assert_array_equal(view, array)


GOOD = {"x": entry([2], 0, 8)}
LIES = {
    "header longer than the file": (GOOD, b"\0" * 8, 10_000, "cut short"),
    "header above the limit": (GOOD, b"\0" * 8, 1 << 62, "does not fit|above the limit"),
    "not json": (b"{not json}", b"", None, "not JSON"),
    "not text": (b"{\xff\xfe}", b"", None, "not JSON"),
    "deep nesting": (b'{"a":' + b"[" * 200_000, b"", None, "not JSON"),
    "not an object": (b"[1, 2, 3]", b"", None, "list"),
    "named twice": (b'{"x":%s,"x":%s}' % ((json.dumps(entry([0], 0, 0)).encode(),) * 2), b"", None, "twice"),
    "metadata not text": ({"__metadata__": {"a": 1}}, b"", None, "__metadata__"),
    "entry not an object": ({"x": 3}, b"", None, "exactly dtype, shape and data_offsets"),
    "entry with more": ({"x": {**entry([2], 0, 8), "stride": 1}}, b"\0" * 8, None, "exactly dtype"),
    "unknown dtype": ({"x": entry([2], 0, 8, "F31")}, b"\0" * 8, None, "unknown dtype 'F31'"),
    "negative size": ({"x": entry([-2], 0, 8)}, b"\0" * 8, None, "whole numbers"),
    "fractional size": ({"x": entry([2.0], 0, 8)}, b"\0" * 8, None, "whole numbers"),
    "size true": ({"x": entry([True, 2], 0, 8)}, b"\0" * 8, None, "whole numbers"),
    "offsets reversed": ({"x": entry([2], 8, 0)}, b"\0" * 8, None, "begin <= end"),
    "three offsets": (
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}},
        b"\0" * 8,
        None,
        "begin <= end",
    ),
    "shape larger than bytes": ({"x": entry([3], 0, 8)}, b"\0" * 8, None, "needs 12 bytes"),
    "shape smaller than bytes": ({"x": entry([1], 0, 8)}, b"\0" * 8, None, "needs 4 bytes"),
    "shape that overflows": ({"x": entry([0, 2**62, 2**62], 0, 0)}, b"", None, "no memory"),
    "beyond the end": ({"x": entry([4], 0, 16)}, b"\0" * 8, None, "cut short"),
    "bytes left over": (GOOD, b"\0" * 9, None, "no tensor owns"),
    "overlap": ({"x": entry([2], 0, 8), "y": entry([2], 4, 12)}, b"\0" * 12, None, "overlaps"),
    "gap": ({"x": entry([2], 0, 8), "y": entry([2], 12, 20)}, b"\0" * 20, None, "gap"),
    "same place twice": ({"x": entry([2], 0, 8), "y": entry([2], 0, 8)}, b"\0" * 8, None, "overlaps"),
    "name with a line end": ({"x\ny": entry([2], 0, 8)}, b"\0" * 8, None, "printable"),
    "name without end": ({"x" * 5000: entry([2], 0, 8)}, b"\0" * 8, None, "1000"),
    "value of two to the 10000": ({"x": entry([2], 0, 10**3000)}, b"\0" * 8, None, "begin <= end"),
}


@pytest.mark.parametrize("lie", LIES)
def test_header_that_lies(lie: str, tmp_path: Path):
    header, data, length, message = LIES[lie]
    path = raw_file(tmp_path / "x.safetensors", header, data, length)
    with pytest.raises(CheckpointError, match=message):
        SafetensorsFile(path)
    assert len(refused(path)) < 1500


def test_good_header_of_the_table_is_accepted(tmp_path: Path):
    SafetensorsFile(raw_file(tmp_path / "x.safetensors", GOOD, b"\0" * 8))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 40])
def test_truncated(size: int, tmp_path: Path):
    whole = raw_file(tmp_path / "x.safetensors", GOOD, b"\0" * 8).read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(whole[:size])
    refused(path)


def test_pickles_are_named_with_the_remedy(tmp_path: Path):
    import torch

    state = {"x": torch.zeros(2)}
    for zipped in (True, False):
        path = tmp_path / f"model{zipped}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        assert f"spar-export convert {path} OUT" in refused(path)
    pointer = tmp_path / "pointer"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(pointer)


def test_missing_file_and_directory(tmp_path: Path):
    assert "cannot be read" in refused(tmp_path / "absent")
    assert "cannot be read" in refused(tmp_path)


def test_lengths_that_look_like_a_pickle(tmp_path: Path):
    """A header of 640 bytes begins with the two bytes of a pickle of protocol 2."""
    text = json.dumps(GOOD).encode()
    path = raw_file(tmp_path / "x.safetensors", text + b" " * (0x280 - len(text)), b"\0" * 8)
    assert path.read_bytes()[:2] == b"\x80\x02"
    SafetensorsFile(path)


def test_writer_leaves_nothing_behind(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    array = np.zeros(4, np.float32)
    good = ("a", "F32", (4,), lambda: array)
    with pytest.raises(CheckpointError, match="declared"):
        write_safetensors(path, [good, ("b", "F32", (5,), lambda: array)])
    with pytest.raises(CheckpointError, match="two tensors"):
        write_safetensors(path, [good, good])

    def full() -> np.ndarray:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        write_safetensors(path, [good, ("b", "F32", (4,), full)])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_safetensors(tmp_path / "absent" / "x.safetensors", [good])


def _mutations(whole: bytes, draw) -> bytes:
    """`whole` with a few bytes of its first part changed, cut, or repeated."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["set", "cut", "insert", "repeat", "digit"]))
        if kind == "cut":
            del data[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 60))]
        elif data:
            data[at] = draw(st.sampled_from(b'0123456789-,:[]{}"')) if kind == "digit" else draw(st.integers(0, 255))
    return bytes(data)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_fuzzed_files_open_or_fail_cleanly(data: st.DataObject, tmp_path: Path):
    header = {"__metadata__": {"format": "pt"}, "a": entry([2, 3], 0, 24), "b": entry([4], 24, 32, "BF16"),
              "c": entry([0, 2], 32, 32, "F16"), "d": entry([], 32, 40, "F64")}  # fmt: skip
    path = raw_file(tmp_path / "x.safetensors", header, bytes(range(40)))
    path.write_bytes(_mutations(path.read_bytes(), data.draw))
    try:
        file = SafetensorsFile(path)
    except CheckpointError:
        refused(path)
        return
    for name, info in file.tensors.items():
        assert file.raw(name).nbytes == info.nbytes
