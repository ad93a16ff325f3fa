"""What the engine returns."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from .image import Region


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what made it."""

    pixels: np.ndarray  # [height, width, 3] uint8, RGB
    settings: dict[str, Any] = field(default_factory=dict)  # task, prompt, seed, steps ...; written into saved files

    @property
    def image(self) -> Image:
        """The picture as a PIL image."""
        from PIL import Image

        return Image.fromarray(self.pixels)

    def save(self, path: Any) -> None:
        """Write PNG, JPEG or WebP by the name's ending, with the settings in the file's metadata."""
        from .image import save_image

        save_image(self.pixels, path, self.settings)


@dataclass(frozen=True, slots=True)
class Images:
    """Result of `generate`, `edit` and `reconstruct`."""

    pictures: list[Picture]
    timings: dict[str, Any]  # component -> seconds and calls; "total" -> seconds

    @property
    def image(self) -> Image:
        """The first picture as a PIL image."""
        return self.pictures[0].image

    @property
    def images(self) -> list[Image]:
        return [picture.image for picture in self.pictures]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Result of `segment`: the colour map the model painted, and the regions found in it."""

    picture: Picture
    regions: list[Region]  # largest first, in the coordinates of the source picture
    timings: dict[str, Any]

    @property
    def image(self) -> Image:
        return self.picture.image


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of `ask`."""

    text: str
    token_ids: list[int]
    prompt_tokens: int
    finished: bool  # False: stopped by max_new_tokens
    timings: dict[str, Any]

    def __str__(self) -> str:
        return self.text


class AnswerStream(Iterator[str]):
    """Pieces of an answer as they become readable; `close` it, or let it go, to stop the request."""

    def __init__(self, pieces: Generator[str, None, Answer]):
        self._pieces = pieces
        self.answer: Answer | None = None  # the whole, once the last piece was read

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as finished:
            self.answer = finished.value or self.answer
            raise StopIteration from None

    def close(self) -> None:
        """Stop the request, if it still runs."""
        self._pieces.close()
