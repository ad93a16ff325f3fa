"""Presets: the published models, and a miniature, as JSON files beside this module."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources

from ..errors import ConfigError
from .jsonfile import load_json
from .model import ModelConfig
from .serial import from_dict

ALIASES = {"spar-2b": "spar-3b", "unilip-2b": "unilip-3b"}
"""The training scripts call the models by their language part, InternVL3-2B (spec 11.21)."""


@cache
def presets() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    folder = resources.files(__package__) / "presets"
    return tuple(sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json")))


@cache
def preset(name: str) -> ModelConfig:
    """The preset `name`, or the one that an alias of it means; ConfigError lists the known ones."""
    known = ALIASES.get(name, name)
    if known not in presets():
        close = difflib.get_close_matches(name, (*presets(), *ALIASES), 1, 0.6)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"preset {name!r} is unknown; {hint}presets are {', '.join(presets())}")
    with resources.as_file(resources.files(__package__) / "presets" / f"{known}.json") as path:
        return from_dict(load_json(path), known)
