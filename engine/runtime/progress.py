"""What a watcher of a request is told after every sampler step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..pipelines.call import Event, Step
from ..results import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """A sampler step has finished; given to `on_step` in the request's own thread."""

    index: int  # 0 for the first step
    total: int
    image: int  # which picture of the prompt
    seconds: float  # of this step, waiting in line included
    elapsed: float  # since the request was made
    latent: np.ndarray  # [1, channels, height, width] float32 after the step
    expected: np.ndarray  # the finished latent as the model expects it now; same shape
    _preview: Callable[[np.ndarray], Picture] = field(repr=False)

    def preview(self) -> Picture:
        """A small picture of `expected`: a linear map of the latent, eight pixels a cell, enlarged.

        The first preview of an engine fits the map, which takes about as long as a few sampler steps; `warmup` with
        `preview=True` does it before. After that a preview is less than a thousandth of a step's work."""
        return self._preview(self.expected)


def watched(
    on_step: Callable[[Progress], None] | None, begin: float, preview: Callable[[np.ndarray], Picture]
) -> Callable[[Event], None] | None:
    """`on_step` as a watcher of a pipeline's events; `begin` is the request's, of time.perf_counter()."""
    if on_step is None:
        return None

    def see(step: Step) -> None:
        elapsed = time.perf_counter() - begin
        on_step(
            Progress(step.index, step.total, step.image, step.seconds, elapsed, step.latent, step.expected, preview)
        )

    return see
