"""Pillow, loaded at the first call that needs it."""

from __future__ import annotations

from types import ModuleType

from ..errors import MissingDependency


def pillow() -> tuple[ModuleType, ModuleType]:
    """PIL.Image and PIL.ImageOps; MissingDependency where Pillow is not installed."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingDependency("pictures need the package `pillow`; install it with: pip install pillow") from None
    return Image, ImageOps
