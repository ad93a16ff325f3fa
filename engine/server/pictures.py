"""Pictures in and out of requests. They come as bytes within the request; nothing is fetched, and no path is opened."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile

from ..errors import InputError
from ..image import load_image
from ..image.save import encode_image
from ..results import Picture
from .settings import Settings

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp);base64,", re.IGNORECASE)


async def uploaded(file: Any, settings: Settings) -> np.ndarray:
    """[rows, columns, 3] uint8 of a file in a form."""
    if not isinstance(file, UploadFile):
        raise InputError("image: send a picture as a file of a multipart form")
    return await opened(await file.read(), settings)


async def from_data_url(url: str, settings: Settings) -> np.ndarray:
    """[rows, columns, 3] uint8 of a data URL; every other URL is refused."""
    start = _DATA_URL.match(url)
    if start is None:
        raise InputError("image_url: only data URLs (data:image/png;base64,...; png, jpeg, webp) are read; "
                         "this server fetches nothing")  # fmt: skip
    try:
        data = base64.b64decode(url[start.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InputError("image_url: what follows base64, is not base64") from None
    return await opened(data, settings)


async def opened(data: bytes, settings: Settings) -> np.ndarray:
    """[rows, columns, 3] uint8 of an encoded picture, decoded away from the event loop."""
    return await asyncio.to_thread(load_image, data, max_pixels=settings.max_pixels)


async def encoded(pictures: list[Picture], kind: str) -> list[dict[str, str]]:
    """Entries of an answer's `data`."""

    def work() -> list[dict[str, str]]:
        made = (encode_image(picture.pixels, kind.upper(), picture.settings) for picture in pictures)
        return [{"b64_json": base64.b64encode(data).decode()} for data in made]

    return await asyncio.to_thread(work)
