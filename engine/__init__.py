"""Run SPAR-family unified multimodal models: text to image, edit, understand, reconstruct, segment.

    import spar_engine
    engine = spar_engine.load("path/to/checkpoint")
    engine.generate("a red boat on a calm lake", seed=7).image.save("boat.png")

Importing this loads neither torch nor any other heavy library; a backend's own are loaded with a model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Engine as Engine
    from .runtime.assemble import load as load

_WHERE = {
    "load": ".runtime.assemble",
    "Engine": ".api",
    "Answer": ".results",
    "AnswerStream": ".results",
    "Images": ".results",
    "Picture": ".results",
    "Progress": ".runtime.progress",
    "Segmentation": ".results",
    "ModelConfig": ".config",
    "preset": ".config",
    "presets": ".config",
    "SparError": ".errors",
    "ConfigError": ".errors",
    "CheckpointError": ".errors",
    "InputError": ".errors",
    "ArtefactError": ".errors",
    "BackendError": ".errors",
    "MissingDependency": ".errors",
    "Cancelled": ".errors",
    "DeadlineExceeded": ".errors",
    "OverBudget": ".errors",
    "Busy": ".errors",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
