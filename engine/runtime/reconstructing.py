"""A picture through the image tokenizer and back."""

from __future__ import annotations

import time
from typing import Any

from ..errors import InputError
from ..pipelines.vision import reconstruct
from ..requests import Cancel, Terms, whole
from ..results import Images, Picture
from .plan import reconstructing


class Reconstructing:
    """Part of `Engine`: `reconstruct`."""

    def reconstruct(
        self: Any,
        image: Any,
        *,
        size: int | None = None,
        padded: bool = False,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Images:
        """A picture through the image tokenizer and back: shorter side resized to `size`, middle square.

        size    side in pixels; None takes the model's own. Without padding a multiple of the patch pair (28)
        padded  mirror the picture up to the next multiple instead, and cut it off again (the 256-pixel protocol)
        """
        from ..image.postprocess import reconstructed_pictures, reconstruction
        from ..image.preprocess import reconstruct_pixels, reflect_pad

        terms = Terms.of(priority, deadline, cancel)
        vision = self.config.vision
        multiple = 2 * vision.patch_size
        size = vision.image_size if size is None else whole("size", size, multiple, 4 * vision.image_size)
        if size % multiple and not padded:
            below = size // multiple * multiple
            raise InputError(f"size={size} is not a multiple of {multiple}; "
                             f"use {below}, {below + multiple} or padded=True")  # fmt: skip
        pixels, padding = reconstruct_pixels(self._open(image), size), None
        if padded:
            pixels, padding = reflect_pad(pixels, multiple)
        begin = time.perf_counter()
        plan = self._checked(lambda: self._planned("reconstruct", reconstructing(self.config, pixels.shape[-1])))
        with self._scheduler.request("reconstruct", terms) as request, self._within(plan):
            decoded = self._run(request, reconstruct(self._parts, pixels))
            pixels = reconstructed_pictures(reconstruction(decoded, padding))[0]
        return Images([Picture(pixels, self._stamp("reconstruct"))], request.report(begin))
