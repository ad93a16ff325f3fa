"""Memory-mapped reader of one safetensors file. Nothing of a file is used before its whole header has been checked."""

from __future__ import annotations

import json
import math
import mmap
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..config.jsonfile import shown
from ..errors import CheckpointError
from .dtypes import FLOATS, STORAGE, to_f32

MAX_HEADER = 100_000_000  # bytes; the format's own limit
_RELEASE = 1 << 20  # reading more than this at once gives the mapped pages back afterwards


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies; `begin` and `end` count bytes from the start of the file."""

    dtype: str  # a key of dtypes.STORAGE
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


class SafetensorsFile:
    """A safetensors file, mapped read-only.

    path     file to open
    tensors  name -> TensorInfo, in the order of the data
    metadata the header's free text entries
    errors   CheckpointError, naming the file, for one that is missing, cut short, of another format, or whose header
             contradicts itself or the size of the file
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            weakref.finalize(self, os.close, self._descriptor)
            with open(self._descriptor, "rb", closefd=False) as file:
                size = file.seek(0, 2)
                file.seek(0)
                header, start = _read_header(self.path, file, size)
                self.tensors, self.metadata = _check_header(self.path, header, start, size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror or error}); check the path") from None

    def stat(self) -> os.stat_result:
        """Of the file that was opened, whatever its name means by now."""
        return os.fstat(self._descriptor)

    def content(self) -> np.ndarray:
        """The whole opened file, [size] uint8, read-only."""
        return np.frombuffer(self._map, np.uint8)

    def raw(self, name: str) -> np.ndarray:
        """Read-only array over the file itself; bf16 and float8 come as their bits (see `tensors[name].dtype`)."""
        info = self._info(name)
        dtype = STORAGE[info.dtype]
        if not info.nbytes:
            return np.frombuffer(b"", dtype).reshape(info.shape)
        return np.frombuffer(self._map, dtype, math.prod(info.shape), info.begin).reshape(info.shape)

    def f32(self, name: str) -> np.ndarray:
        """New float32 array with the tensor's values; integers and booleans are refused (CheckpointError)."""
        info = self._info(name)
        if info.dtype not in FLOATS:
            raise CheckpointError(f"{self.path}: `{name}` is {info.dtype}, a parameter must be one of {sorted(FLOATS)}")
        values = to_f32(self.raw(name), info.dtype)
        self.release(name)
        return values

    def release(self, name: str) -> None:
        """Let the system take back the memory that mirrors this tensor; views of it stay valid and are read again."""
        info = self._info(name)
        if info.nbytes >= _RELEASE and hasattr(mmap, "MADV_DONTNEED"):
            begin = info.begin - info.begin % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, begin, info.end - begin)

    def _info(self, name: str) -> TensorInfo:
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"{self.path}: holds no tensor `{name}`") from None


def _read_header(path: Path, file: BinaryIO, size: int) -> tuple[bytes, int]:
    """The header's JSON text and the offset at which the data begin."""
    if size == 0:
        raise CheckpointError(f"{path}: is empty; download or save it again")
    magic = file.read(9)
    length = int.from_bytes(magic[:8], "little")
    if magic[8:] != b"{" or length > size - 8:
        _refuse_foreign(path, magic)
    if len(magic) < 9:
        raise CheckpointError(f"{path}: has {size} bytes, too few for a safetensors file; download or save it again")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"{path}: its first bytes give a header of {length} bytes, above the limit of "
            f"{MAX_HEADER}; it is not a safetensors file"
        )
    if length > size - 8:
        raise CheckpointError(
            f"{path}: its header of {length} bytes does not fit the file of {size} bytes; "
            "it was cut short, download or save it again"
        )
    return magic[8:] + file.read(max(length - 1, 0)), 8 + length


def _refuse_foreign(path: Path, magic: bytes) -> None:
    """Name the formats that are given by mistake. A safetensors file can begin with any of these bytes by chance."""
    if magic[:4] == b"PK\x03\x04" or (magic[:1] == b"\x80" and magic[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise CheckpointError(
            f"{path}: is a PyTorch pickle, not safetensors; convert it with: spar-export convert {path} OUT"
        )
    if magic.startswith(b"version "):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the file itself; fetch it with: git lfs pull")


def _check_header(path: Path, text: bytes, start: int, size: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    header = _parse(path, text)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path}: header entry __metadata__ must map text to text")
    found = {name: _tensor(path, name, entry, start) for name, entry in header.items()}
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)))
    position = start
    for name, info in ordered.items():
        if info.begin != position:
            what = "overlaps the one before it" if info.begin < position else "leaves a gap before it"
            raise CheckpointError(
                f"{path}: `{name}` begins at data byte {info.begin - start} and {what}, "
                f"which ends at {position - start}; the header is damaged"
            )
        position = info.end
    if position != size:
        what = "was cut short" if position > size else "has bytes that no tensor owns"
        raise CheckpointError(
            f"{path}: has {size} bytes, its header describes {position}; it {what}, download or save it again"
        )
    return ordered, metadata


def _parse(path: Path, text: bytes) -> dict:
    def unique(pairs: list[tuple[str, object]]) -> dict:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in made if names.count(name) > 1)
            raise CheckpointError(f"{path}: header names `{twice}` twice; the file is damaged")
        return made

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: its header is not JSON ({reason}); it is not a safetensors file") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header is a JSON {type(header).__name__}, not an object")
    return header


def _tensor(path: Path, name: str, entry: object, start: int) -> TensorInfo:
    """One entry of the header; its place in the file is checked by the caller."""
    if not name.isprintable() or not 0 < len(name) <= 1000:
        raise CheckpointError(f"{path}: header holds the name {name[:80]!r}; names are 1 to 1000 printable characters")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{path}: header entry `{name}` must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORAGE:
        raise CheckpointError(f"{path}: `{name}` has the unknown dtype {shown(dtype)}; known are {sorted(STORAGE)}")
    if not _whole(shape) or len(shape) > 64:
        raise CheckpointError(
            f"{path}: `{name}` has the shape {shown(shape)}, not a list of whole numbers of at least 0"
        )
    if not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{path}: `{name}` has data_offsets {shown(offsets)}, not [begin, end] with begin <= end")
    if math.prod(size or 1 for size in shape) * STORAGE[dtype].itemsize >= 2**63:
        raise CheckpointError(
            f"{path}: `{name}` has the shape {shown(shape)}, which no memory holds; the header is damaged"
        )
    need = math.prod(shape) * STORAGE[dtype].itemsize
    if need != offsets[1] - offsets[0]:
        raise CheckpointError(
            f"{path}: `{name}` of shape {shown(shape)} and dtype {dtype} needs {need} bytes, "
            f"its data_offsets give {offsets[1] - offsets[0]}; the header is damaged"
        )
    return TensorInfo(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _whole(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)
