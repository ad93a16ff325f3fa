"""One writer at a time for a directory. A lock ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from spar_engine.errors import ArtefactError

NAME = ".spar-export.lock"


@contextlib.contextmanager
def locked(directory: Path, waiting: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold the lock of `directory`, which is made if need be; waits while another process holds it.

    waiting  called once, with the other process's id, before a wait
    errors   ArtefactError when the directory cannot be made or written to
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _acquire(directory / NAME, waiting)
    except OSError as error:
        raise ArtefactError(
            f"{directory}: cannot be written ({error.strerror or error}); choose a directory that you may write to"
        ) from None
    try:
        yield
    finally:
        (directory / NAME).unlink(missing_ok=True)
        os.close(file)


def _acquire(path: Path, waiting: Callable[[str], None]) -> int:
    """A locked descriptor of the file that is at `path` now; its last holder may have removed the one opened first."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting(os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown")
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
