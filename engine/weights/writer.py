"""Streaming writer of safetensors files: one tensor in memory at a time, written aside and renamed when complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from .dtypes import STORAGE

Item = tuple[str, str, tuple[int, ...], Callable[[], np.ndarray]]
"""Name, dtype (a key of STORAGE), shape, and a call that gives the array (bf16 as uint16 bits)."""


def write_safetensors(path: str | Path, items: Iterable[Item], metadata: dict[str, str] | None = None) -> None:
    """Write `items` to `path`; either the whole file appears or nothing does.

    items     one Item a tensor; its call is made once, when its turn comes
    metadata  free text for the header; Hugging Face readers want {"format": "pt"}
    errors    CheckpointError when an array is not what its entry says, or the file cannot be written
    """
    path, items = Path(path), list(items)
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    position = 0
    # Widest type first: readers want every tensor on a multiple of its item size.
    items.sort(key=lambda item: (-STORAGE[item[1]].itemsize, item[0]))
    for name, dtype, shape, _ in items:
        if name in header:
            raise CheckpointError(f"{path}: two tensors are named `{name}`")
        end = position + int(np.prod(shape, dtype=np.int64)) * STORAGE[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, dtype, shape, get in items:
                array = get()
                if array.dtype != STORAGE[dtype] or array.shape != tuple(shape):
                    raise CheckpointError(f"{path}: `{name}` is {array.dtype} {array.shape}, declared {dtype} {shape}")
                file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); choose a place with room that you may write to"
        ) from None
    finally:
        with suppress(OSError):
            aside.unlink()


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """A directory to fill in the body; it becomes `path` when the body ends well, and vanishes when it fails.

    errors  CheckpointError when `path` exists and is not an empty directory, or cannot be made
    """
    path = Path(os.path.abspath(path))  # "." has no name to build another from
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CheckpointError(f"{path}: exists and is not an empty directory; choose another place or remove it")
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.mkdir(parents=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); choose a place with room that you may write to"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
