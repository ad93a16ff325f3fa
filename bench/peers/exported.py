"""Exported graphs for peers: our operators opened into standard ones, beside the weights they refer to."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner
from spar_engine.backends.build import prepared
from spar_engine.weights.digest import cache_directory


def opened_model(weights: Any, component: str) -> tuple[onnx.ModelProto, Path]:
    """A component's graph without operators of ours, its weights not loaded, and the folder of the weights."""
    artefacts = prepared(weights)
    model = inliner.inline_local_functions(onnx.load_from_string(artefacts.graph(component)))
    return model, Path(artefacts.folder(component))


def loaded_model(weights: Any, component: str) -> onnx.ModelProto:
    """The same with its weights in memory."""
    model, folder = opened_model(weights, component)
    onnx.load_external_data_for_model(model, str(folder))
    return model


def kept_at(kind: str, weights: Any, component: str) -> Path:
    """Where something made from a component's graph is kept in the user's cache; another graph, another place."""
    artefacts = prepared(weights)
    content = artefacts.graph(component) + str(artefacts.folder(component)).encode()
    return cache_directory() / "bench" / kind / hashlib.sha256(content).hexdigest()[:24] / f"{component}.onnx"


def opened_graph(weights: Any, component: str) -> Path:
    """Path of a file with `opened_model`; its weights lie beside it."""
    path = kept_at("graphs", weights, component)
    if path.exists():
        return path
    model, folder = opened_model(weights, component)
    for name in {entry.value for tensor in model.graph.initializer for entry in tensor.external_data
                 if entry.key == "location"}:  # fmt: skip
        _beside((folder / name).resolve(), path.parent / name)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(model.SerializeToString())
    os.replace(aside, path)
    return path


def _beside(source: Path, place: Path) -> None:
    """A copy: OpenVINO follows no symbolic link out of a folder, and onnx reads no file with a second hard link."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copyfile(source, aside)
    os.replace(aside, place)
