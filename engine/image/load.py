"""Pictures from outside: [rows, columns, 3] uint8 out of files, bytes, Pillow images and arrays."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import InputError
from .library import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | np.ndarray | Image"

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 178_000_000  # above this Pillow itself refuses to open a file
MAX_SIDE = 16_384
MAX_ASPECT = 100  # longer side over shorter; resizing the shorter one up must not fill the memory
MIN_SIDE = 2
FOREIGN = ((b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"%PDF", "PDF"))


def load_image(source: Source, *, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE) -> np.ndarray:
    """A picture as [rows, columns, 3] uint8 RGB.

    source  path, encoded bytes or binary file (PNG, JPEG, WebP), Pillow image, or array [rows, columns] or
            [rows, columns, 1, 3 or 4] of uint8, uint16 (0 .. 65535) or floats (0 .. 1)

    EXIF orientation is applied, transparency is laid over white, 16-bit values are rounded to 8, and grey, palette
    and CMYK pictures become RGB. InputError, before any pixel is decoded where the header already tells: not one of
    these formats, damaged or cut short, animated, a side below 2 pixels, or larger than the limits.
    """
    limits = _Limits(max_pixels, max_side)
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, pillow()[0].Image):
        return _from_pillow(source, "picture", limits)
    if isinstance(source, (str, os.PathLike)):
        try:
            with Path(source).open("rb") as file:
                return _from_file(file, os.fspath(source), limits)
        except OSError as error:
            raise InputError(f"{os.fspath(source)}: cannot be read: {error.strerror}; check the path") from None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "picture", limits)
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise InputError(f"picture: the file gave {type(data).__name__}; open it in binary mode")
        return _from_file(io.BytesIO(data), "picture", limits)
    raise InputError(
        f"picture is {type(source).__name__}; pass a path, bytes, binary file, Pillow image or numpy array"
    )


class _Limits:
    def __init__(self, pixels: int, side: int):
        self.pixels, self.side = pixels, side

    def check(self, name: str, width: int, height: int) -> None:
        size = f"{name}: {width}x{height} pixels"
        short, long = sorted((width, height))
        if short < MIN_SIDE:
            raise InputError(f"{size} are too few; use at least {MIN_SIDE}x{MIN_SIDE}")
        if long > self.side:
            raise InputError(f"{size}: a side is over the limit of {self.side}; scale it down")
        if width * height > self.pixels:
            raise InputError(f"{size} are {width * height} in all, over the limit of {self.pixels}; scale it down")
        if long > MAX_ASPECT * short:
            raise InputError(f"{size}: one side is more than {MAX_ASPECT} times the other; crop it")


def _from_file(file: IO[bytes], name: str, limits: _Limits) -> np.ndarray:
    Image, _ = pillow()
    start = file.read(16)
    file.seek(0)
    if not start:
        raise InputError(f"{name}: the file is empty")
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        count = "".join(re.findall(r"\d+", str(error))[:1])
        raise InputError(f"{name}: {count} pixels are over the limit of {limits.pixels}; scale it down") from None
    except Image.UnidentifiedImageError:
        kind = next((kind for mark, kind in FOREIGN if start.startswith(mark)), None)
        kind = "HEIC or AVIF" if start[4:8] == b"ftyp" else kind
        what = f"a {kind} file" if kind else "not a picture that can be read"
        raise InputError(f"{name}: {what}; use PNG, JPEG or WebP") from None
    except Exception as error:
        raise _damaged(name, error) from None
    with image:
        return _from_pillow(image, name, limits)


def _damaged(name: str, error: Exception) -> InputError:
    """Whatever a decoder raises on foreign bytes (OSError, SyntaxError, struct.error, ...) is the file's fault."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{name}: damaged or cut short: {reason}; save it anew")


def _from_pillow(image: Image, name: str, limits: _Limits) -> np.ndarray:
    _, ops = pillow()
    limits.check(name, *image.size)
    kind = image.format
    try:
        # A phone's JPEG may carry a preview or depth map as a second frame (MPO); the first one is the picture.
        frames = 1 if kind == "MPO" else getattr(image, "n_frames", 1)
        if frames == 1:
            image = ops.exif_transpose(image)
            if not image.mode.startswith(("I", "F")):
                transparent = image.has_transparency_data
                image = image.convert("RGBA" if transparent else "RGB")
        pixels = np.array(image)
    except Exception as error:
        raise _damaged(name, error) from None
    if frames > 1:
        raise InputError(f"{name}: animated, {frames} frames; pass a single picture")
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        return _grey_to_rgb(_round16(pixels))
    if image.mode in ("I", "F"):
        raise InputError(f"{name}: Pillow mode {image.mode} has no fixed range; convert it to 8 bits")
    return over_white(pixels) if image.mode == "RGBA" else pixels


def over_white(image: np.ndarray) -> np.ndarray:
    """[rows, columns, 4] uint8 with straight alpha, laid over white: [rows, columns, 3] uint8, rounded to nearest."""
    alpha = image[..., 3:].astype(np.uint16)  # 255 * 255 + 127 still fits
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _from_array(array: np.ndarray, limits: _Limits) -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(f"picture array has shape {array.shape}; pass [rows, columns] or [rows, columns, 1, 3 or 4]")
    limits.check("picture array", array.shape[1], array.shape[0])
    if array.dtype.kind == "f":
        # written so that NaN fails too
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"picture array of {array.dtype} leaves 0 .. 1 or is not finite; scale it or pass uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = _round16(array)
    elif array.dtype != np.uint8:
        raise InputError(f"picture array is {array.dtype}; pass uint8, uint16 or floats from 0 to 1")
    if array.ndim == 2 or array.shape[2] == 1:
        return _grey_to_rgb(array.reshape(array.shape[:2]))
    return over_white(array) if array.shape[2] == 4 else np.array(array)


def _round16(values: np.ndarray) -> np.ndarray:
    """0 .. 65535 to 0 .. 255, to the nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)
