"""Traces kept in the user's cache. A graph follows from the architecture and the stored types alone, so that a
fine-tuned checkpoint is exported without tracing again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import ModelProto
from spar_engine.backends.identity import recipe_sha256, spec_sha256
from spar_engine.weights.digest import cache_directory

from .store import ONNX_TYPE
from .versions import versions

if TYPE_CHECKING:
    from spar_engine.components import Component

_DIGEST = hashlib.sha256().digest_size


def traced(component: Component, weights: Any, taps: bool) -> tuple[ModelProto, ModelProto | None]:
    """`trace.trace` of a component for these weights, from the cache if it is there."""
    names = ("plain", "taps") if taps else ("plain",)
    stem = _place(component.name, weights)
    found = [_read(stem.with_suffix(f".{name}")) for name in names]
    if None not in found:
        return found[0], found[1] if taps else None
    from .trace import trace

    made = trace(component, weights.config, lambda name: ONNX_TYPE[weights.info(name).dtype], taps)
    for name, model in zip(names, made, strict=False):
        _write(stem.with_suffix(f".{name}"), model)
    return made


def _place(name: str, weights: Any) -> Path:
    """Where the traces of a component lie, without their suffix; the name tells all that they depend on."""
    types = {parameter: weights.info(parameter).dtype for parameter in weights.names()}
    parts = [name, spec_sha256(name, weights.config), recipe_sha256(), versions(), types]
    return cache_directory() / "traces" / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> ModelProto | None:
    """None when the file is missing or not what `_write` wrote."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        return None
    return ModelProto.FromString(data[_DIGEST:])


def _write(path: Path, model: ModelProto) -> None:
    """A cache that cannot be written costs time only."""
    data = model.SerializeToString(deterministic=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(hashlib.sha256(data).digest() + data)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
