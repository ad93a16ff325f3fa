"""The tokenizer library, loaded at the first call that needs it, and its ways to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ..errors import CheckpointError, MissingDependency, SparError


def tokenizers() -> ModuleType:
    """The package `tokenizers`; MissingDependency where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise MissingDependency(
            "text needs the package `tokenizers`; install it with: pip install tokenizers"
        ) from None
    return tokenizers


@contextmanager
def failures(said: str) -> Iterator[None]:
    """What the library fails with, within, as a CheckpointError that begins with `said`.

    It raises bare Exception, and where its own code breaks an assumption a panic, which is not even an Exception."""
    try:
        yield
    except SparError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(f"{said}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
