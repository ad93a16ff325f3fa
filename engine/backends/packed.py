"""Packed weights of the native backend as files: mapped, shared by processes, keyed by what they are made of.

A file is one page of header, then the bytes exactly as the packer lays them out in memory:

    0     magic, layout version
    16    bytes of the payload
    24    CRC-32 of the payload
    32    key: SHA-256 of layout version, component, precision, configuration and the weights' own digest
    4096  payload
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtefactError

LAYOUT = 1
"""Raised whenever the native code lays out any packed weight differently (csrc/cpu/core/gemm.h, csrc/cpu/model)."""
_MAGIC = b"SPARPACK"
_HEADER = struct.Struct("<8sQQI4x32s")
_PAGE = 4096
_CHUNK = 1 << 24
_LEFT = 3600.0  # seconds after which a file that is still being written is taken for one that was left


def key_of(component: str, precision: str, description: Any, digest: str) -> str:
    """Hex key of one component's packed weights; `digest` is the SHA-256 of its parameters."""
    text = json.dumps([LAYOUT, component, precision, description, digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def path_of(directory: str | Path, component: str, precision: str, key: str) -> Path:
    return Path(directory) / f"{component}-{precision}-{key[:32]}.packed"


def _checksum(payload: Any) -> int:
    total = 0
    for start in range(0, len(payload), _CHUNK):
        total = zlib.crc32(payload[start : start + _CHUNK], total)
    return total


def read(path: Path, key: str) -> np.ndarray | None:
    """The payload, mapped read-only, as bytes; None when there is no such file.

    errors  ArtefactError for a file that is cut short, changed or not what its name says
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _PAGE:
                raise _bad(path, "it is cut short")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        return None
    magic, layout, size, checksum, found = _HEADER.unpack_from(mapped)
    if (magic, layout, found) != (_MAGIC, LAYOUT, bytes.fromhex(key)):
        raise _bad(path, "its header is of something else")
    if len(mapped) != _PAGE + size:
        raise _bad(path, f"it holds {len(mapped) - _PAGE} bytes, its header says {size}")
    payload = np.frombuffer(mapped, np.uint8, offset=_PAGE)
    if _checksum(payload) != checksum:
        raise _bad(path, "its checksum does not fit")
    return payload


def write(path: Path, key: str, payload: memoryview) -> None:
    """Write aside, then rename: a reader sees a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path)
    header = _HEADER.pack(_MAGIC, LAYOUT, payload.nbytes, _checksum(payload), bytes.fromhex(key))
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(header.ljust(_PAGE, b"\0"))
            for start in range(0, payload.nbytes, _CHUNK):
                file.write(payload[start : start + _CHUNK])
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _tidy(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    for aside in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):
            if abs(time.time() - aside.stat().st_mtime) > _LEFT:
                aside.unlink()


def _bad(path: Path, what: str) -> ArtefactError:
    return ArtefactError(f"{path}: {what}; delete the file, it will be made again")
