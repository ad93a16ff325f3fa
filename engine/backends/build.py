"""Artefacts made on demand: the exporter runs in a child process and writes to the user's cache.

The engine's own process never imports torch. The directory is chosen by the content of the weights, so that a
checkpoint that was moved finds its artefacts again. Graphs of a checkpoint refer to its files; random weights are
written once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..components import components
from ..config.serial import to_dict
from ..errors import ArtefactError, BackendError, MissingDependency
from ..weights.digest import cache_directory
from .artefacts import Artefacts
from .identity import recipe_sha256


def prepared(weights: Any, taps: bool = False, *, repair: bool = False) -> Artefacts:
    """Artefacts of all components of `weights`, from the cache or made now.

    taps    with graphs that show their inner tensors
    repair  let the exporter look at every file, as after an ArtefactError
    errors  MissingDependency when something has to be made and torch or onnx is not installed; BackendError when the
            exporter fails
    """
    directory = place_of(weights)
    if repair or not _complete(directory, weights, taps):
        _export(weights, directory, taps)
    return Artefacts(directory, weights)


def place_of(weights: Any) -> Path:
    """Directory in the cache for the artefacts of these weights with this configuration."""
    content = json.dumps(to_dict(weights.config), sort_keys=True) + weights.sha256()
    return cache_directory() / "onnx" / hashlib.sha256(content.encode()).hexdigest()[:32]


def _complete(directory: Path, weights: Any, taps: bool) -> bool:
    try:
        found = Artefacts(directory, weights).manifest.components
    except ArtefactError:
        return False
    wanted = [name for name in components(weights.config) if name in weights.parts]
    return all(
        name in found and found[name].recipe == recipe_sha256() and not (taps and found[name].taps is None)
        for name in wanted
    )


def _export(weights: Any, directory: Path, taps: bool) -> None:
    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"onnxruntime: {weights.config.name} must be exported once, which needs the package {package}; "
                "pip install 'spar-engine[export]', or give artefacts=DIRECTORY made by spar-export"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        arguments = _arguments(weights, directory) + (["--taps"] if taps else [])
    except OSError as error:
        raise BackendError(f"onnxruntime: {directory} cannot be written ({error.strerror or error}); set SPAR_CACHE to "
                           "a directory that you may write to") from None  # fmt: skip
    print(f"spar: preparing {weights.config.name} for ONNX Runtime, once; it is kept in {directory}", file=sys.stderr)
    live = sys.stderr.isatty()
    command = [sys.executable, "-m", "spar_export", "onnx", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=None if live else subprocess.PIPE) as child:
        try:
            _, said = child.communicate()
        except KeyboardInterrupt:  # the child got it too, and tidies up
            child.wait()
            raise
    if child.returncode:
        lines = (said or b"").decode(errors="replace").strip().splitlines()
        raise BackendError(f"onnxruntime: the exporter failed (exit code {child.returncode}): "
                           + (lines[-1] if lines else "its message is above"))  # fmt: skip


def _arguments(weights: Any, directory: Path) -> list[str]:
    merged = [part for lora in getattr(weights, "asked", ()) for part in ("--lora", lora)]
    return _source(weights, directory) + merged


def _source(weights: Any, directory: Path) -> list[str]:
    if weights.directory is not None:
        source = [str(weights.directory), str(directory), "--dit-position", weights.config.dit.position]
        return source + (["--in-place"] if _in_place(weights) else [])
    model = directory / "model.json"
    model.write_text(json.dumps(to_dict(weights.config), indent=1))
    return [str(model), str(directory), "--random-weights", "--seed", str(weights.seed)]


def _in_place(weights: Any) -> bool:
    """Whether graphs can refer to the checkpoint's files: one directory, and one tensor for each parameter."""
    places = [weights.place(name) for name in weights.names()]
    return None not in places and len({place[0].resolve().parent for place in places}) == 1
