"""Components as modules, with the exact rewrites of the specification; what export traces and the torch backend runs.

    module = load(build("dit", config), checkpoint)
    velocity, = module(latent, modulation, ...)        # inputs and outputs in the order of `components.py`

A cut keeps raw checkpoint tensors under the checkpoint's names. Constants that follow from them (folded biases, phase
kernels) are computed in `forward`, so a traced graph holds raw tensors and the runtime folds; `prepare` computes them
once for repeated eager use, with the same code.
"""

from __future__ import annotations

from ...config import ModelConfig
from ...errors import InputError
from .base import Cut, load, prepare, without_data
from .decoder import DecoderCut
from .dit import ContextCut, DitCut, ModulationCut
from .language import ConditionCut, LanguageCut, LmHeadCut
from .vision import StreamsCut, VisionCut

CUTS: dict[str, type[Cut]] = {
    "vision": VisionCut,
    "language": LanguageCut,
    "lm_head": LmHeadCut,
    "condition": ConditionCut,
    "context": ContextCut,
    "modulation": ModulationCut,
    "dit": DitCut,
    "streams": StreamsCut,
    "decoder": DecoderCut,
}

__all__ = ["CUTS", "Cut", "build", "load", "prepare", "without_data"]


def build(name: str, config: ModelConfig) -> Cut:
    """The module of component `name`, on the meta device: without weights until `load`. Unknown names: InputError."""
    if name not in CUTS:
        raise InputError(f"component {name!r} is unknown; there are {sorted(CUTS)}")
    with without_data():
        return CUTS[name](config).eval().requires_grad_(False)
