"""Pictures to files: PNG, JPEG or WebP, with the settings that made them, written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .library import pillow

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SOFTWARE = "spar-engine"
KEY = "spar"  # PNG text chunk with everything, as JSON
EXIF_IFD, EXIF_SOFTWARE, EXIF_COMMENT = 0x8769, 0x0131, 0x9286
COMMENT_CODE = b"ASCII\0\0\0"


def check_destination(path: str | os.PathLike[str]) -> str:
    """Format that `path` asks for; InputError where it names no format or cannot be written. Call before the work."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: unknown picture format {path.suffix!r}; end the name in {', '.join(FORMATS)}")
    if path.is_dir():
        raise InputError(f"{path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}; create it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the directory {path.parent} cannot be written to; choose another")
    return FORMATS[path.suffix.lower()]


def encode_image(image: np.ndarray, kind: str, settings: Mapping[str, Any] | None = None, quality: int = 95) -> bytes:
    """A picture as the bytes of a file.

    image     [rows, columns, 3] uint8
    kind      "PNG", "JPEG" or "WEBP"; the last two lose a little, less with a higher `quality` (1 .. 100)
    settings  JSON values by name; PNG keeps them as text (everything under "spar", the prompt as "Description"),
              the others as the EXIF user comment
    """
    library, _ = pillow()
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"picture is {image.dtype} {image.shape}; pass [rows, columns, 3] uint8")
    options: dict[str, Any] = {} if kind == "PNG" else {"quality": quality}
    if kind == "JPEG":
        options["subsampling"] = 0
    if settings is not None:
        options |= _png_text(settings) if kind == "PNG" else {"exif": _exif(settings, library)}
    out = io.BytesIO()
    try:
        library.fromarray(image).save(out, kind, **options)
    except ValueError as error:  # EXIF beyond the 64 KiB of a JPEG segment
        raise InputError(f"{kind}: the settings do not fit: {error}; save as PNG") from None
    return out.getvalue()


def save_image(
    image: np.ndarray, path: str | os.PathLike[str], settings: Mapping[str, Any] | None = None, quality: int = 95
) -> None:
    """Write a picture; the name's ending chooses the format. An existing file is replaced only by a complete one."""
    data = encode_image(image, check_destination(path), settings, quality)
    path = Path(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def read_settings(source: str | os.PathLike[str] | bytes) -> dict[str, Any] | None:
    """The settings that `save_image` or `encode_image` put into a file or bytes; None where there are none."""
    library, _ = pillow()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    name = "picture" if isinstance(source, bytes) else os.fspath(source)
    try:
        with library.open(file, formats=tuple(set(FORMATS.values()))) as image:
            if image.format == "PNG":
                text = image.text.get(KEY)
            else:
                comment = image.getexif().get_ifd(EXIF_IFD).get(EXIF_COMMENT, b"")
                text = comment[len(COMMENT_CODE) :].decode("ascii") if comment.startswith(COMMENT_CODE) else None
        found = None if text is None else json.loads(text)
    # Foreign bytes again: whatever the decoder raises is the file's fault.
    except Exception as error:
        raise InputError(f"{name}: its settings cannot be read: {str(error).splitlines()[0]}") from None
    return found if isinstance(found, dict) else None


def _json(settings: Mapping[str, Any]) -> str:
    """Plain ASCII, so that it fits every kind of text field."""
    try:
        return json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"settings cannot be kept as JSON: {error}") from None


def _png_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    if isinstance(settings.get("prompt"), str):
        info.add_itxt("Description", settings["prompt"])
    info.add_itxt(KEY, _json(settings))
    return {"pnginfo": info}


def _exif(settings: Mapping[str, Any], library: Any) -> bytes:
    exif = library.Exif()
    exif[EXIF_SOFTWARE] = SOFTWARE
    exif[EXIF_IFD] = {EXIF_COMMENT: COMMENT_CODE + _json(settings).encode("ascii")}
    return exif.tobytes()
