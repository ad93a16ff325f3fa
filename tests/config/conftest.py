"""The tiny checkpoints' configurations, writable, with the shapes of their tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spar_engine.weights import SafetensorsFile
from spar_engine.weights.schema import ignored

Shapes = dict[str, tuple[int, ...]]


class Case:
    """A checkpoint's configuration files, to be changed, and its tensors' shapes."""

    def __init__(self, source: Path, target: Path):
        shutil.copytree(source, target, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("*.safetensors"))
        tensors = SafetensorsFile(source / "model.safetensors").tensors
        self.directory = target
        self.shapes: Shapes = {name: info.shape for name, info in tensors.items() if not ignored(name)}

    def edit(self, file: str, path: str, value: Any) -> None:
        """Set the field at the dotted path of a JSON file; ... removes it."""
        content = json.loads((self.directory / file).read_text())
        *parents, last = path.split(".")
        inner = content
        for parent in parents:
            inner = inner[parent]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
        (self.directory / file).write_text(json.dumps(content))

    def without_submodels(self) -> None:
        for name in ("mllm", "mllm_hf", "vae", "dit"):
            shutil.rmtree(self.directory / name)


@pytest.fixture
def case(golden_dir, tmp_path: Path) -> Callable[[str], Case]:
    return lambda name: Case(golden_dir(f"{name}/checkpoint"), tmp_path / name)
