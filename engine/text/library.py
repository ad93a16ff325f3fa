"""The tokenizer library, loaded at the first call that needs it."""

from __future__ import annotations

from types import ModuleType

from ..errors import MissingDependency


def tokenizers() -> ModuleType:
    """The package `tokenizers`; MissingDependency where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise MissingDependency(
            "text needs the package `tokenizers`; install it with: pip install tokenizers"
        ) from None
    return tokenizers
