"""Writes artefacts so that a directory never holds a component that is not whole.

Files are made in a folder aside, then renamed. The manifest is rewritten before and after: while the files of a
component change, it does not list the component. A process killed at any moment leaves at most that folder, which the
next one removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from spar_engine.backends.manifest import FILE, Entry, Manifest
from spar_engine.errors import ArtefactError

from .lock import NAME as LOCK

ASIDE = ".spar-export"


@contextlib.contextmanager
def aside(directory: Path) -> Iterator[Path]:
    """An empty folder in `directory` for files to come; it is gone afterwards."""
    folder = directory / ASIDE
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing(folder):
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left_over(directory: Path) -> bool:
    """Whether a process was killed here, or is at work."""
    return (directory / ASIDE).exists() or (directory / LOCK).exists()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the errors of the system into an ArtefactError that names `path`."""
    try:
        yield
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written ({error.strerror or error}); "
                            "choose a place with room that you may write to") from None  # fmt: skip


def write_file(path: Path, data: bytes) -> None:
    """Write `data` and wait until it is on the disk."""
    with writing(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish(directory: Path, folder: Path, manifest: Manifest, name: str, entry: Entry) -> Manifest:
    """Move the files in `folder` to `directory` as component `name`; the manifest that lists it."""
    if name in manifest.components:
        rest = {key: value for key, value in manifest.components.items() if key != name}
        manifest = _write_manifest(directory, folder, dataclasses.replace(manifest, components=rest))
    with writing(directory):
        for path in sorted(folder.iterdir()):
            path.replace(directory / path.name)
        _sync(directory)
    listed = dict(sorted((manifest.components | {name: entry}).items()))
    return _write_manifest(directory, folder, dataclasses.replace(manifest, components=listed))


def _write_manifest(directory: Path, folder: Path, manifest: Manifest) -> Manifest:
    write_file(folder / FILE, manifest.dumps().encode())
    with writing(directory):
        (folder / FILE).replace(directory / FILE)
        _sync(directory)
    return manifest


def _sync(directory: Path) -> None:
    """Wait until the renames in `directory` are on the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
