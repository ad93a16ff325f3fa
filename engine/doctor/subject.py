"""A backend under examination, with the host-side parts that its components need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.seam import arrays
from ..config import ModelConfig
from ..pipelines.call import Pipeline, run
from ..pipelines.parts import Parts


@dataclass(slots=True)
class Subject:
    """Runs components and pipelines of one backend for the golden recomputation."""

    config: ModelConfig
    backend: Any
    parts: Parts
    tokenizer: Any

    def taps(self, component: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs and inner tensors of one run, by their golden names."""
        return arrays(self.backend.run(component, inputs, taps=True))

    def outputs(self, component: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return arrays(self.backend.run(component, inputs))

    def drive(self, pipeline: Pipeline[Any]) -> Any:
        return run(pipeline, self.backend.run)

    def encode(self, text: str) -> np.ndarray:
        """Token ids of a finished prompt; every picture marker stands for the visual tokens of one picture."""
        from ..text import PLACEHOLDER
        from ..text.templates import expand

        return self.tokenizer.encode(expand(text, [self.config.image_tokens] * text.count(PLACEHOLDER)))


def scatter(rows: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    """Unpadded rows [n_i, ...] put where `mask` [rows, tokens] is 1; zero elsewhere."""
    placed = np.zeros((*mask.shape, *rows[0].shape[1:]), rows[0].dtype)
    for index, row in enumerate(rows):
        placed[index, mask[index].astype(bool)] = row
    return placed
