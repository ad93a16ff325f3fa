"""What an exported component depends on, as digests: its description, and the code that made it. No torch, no onnx."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..components import components

if TYPE_CHECKING:
    from ..config import ModelConfig

_READS = {
    "vision": ("vision", "language"),
    "language": ("language", "router"),
    "lm_head": ("language",),
    "condition": ("language", "connector_depth", "router", "dit"),
    "context": ("dit",),
    "modulation": ("dit",),
    "dit": ("dit",),
    "streams": ("streams", "language"),
    "decoder": ("decoder",),
}
"""Parts of the configuration that a component's module reads."""

_RECIPE = {
    "spar_export": ("trace.py", "functions.py", "store.py", "lower/*.py"),
    "spar_engine": ("modules/**/*.py", "ops/torch_ops.py"),
}
"""The code that decides what a graph is."""


def spec_sha256(component: str, config: ModelConfig) -> str:
    """Digest of a component's inputs, outputs and ranges, and of the configuration that its graph follows from."""
    spec = dataclasses.asdict(components(config)[component])
    parts = {name: getattr(config, name) for name in _READS[component]}
    plain = {name: dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for name, part in parts.items()}
    return hashlib.sha256(json.dumps([spec, plain], sort_keys=True).encode()).hexdigest()


@cache
def recipe_sha256(*further: str) -> str:
    """Digest of the exporter's and the modules' source files, found without importing them.

    further  patterns of more files of the exporter that count
    """
    made = hashlib.sha256()
    for package, patterns in (*_RECIPE.items(), ("spar_export", further)):
        found = importlib.util.find_spec(package)
        root = Path(next(iter(found.submodule_search_locations)))
        for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
            made.update(f"{package}/{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return made.hexdigest()
