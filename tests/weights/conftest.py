"""A tiny checkpoint to damage: a writable copy, and ways to change its tensors and its configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spar_engine.weights import SafetensorsFile, write_safetensors


def copy_tree(source: Path, target: Path) -> Path:
    """Copy that can be written to, whatever the rights of the original."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    return target


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny(golden, tmp_path: Path) -> Path:
    """The tiny SPAR checkpoint, writable."""
    return copy_tree(golden("spar-tiny/checkpoint"), tmp_path / "spar-tiny")


Change = Callable[[dict[str, tuple[str, np.ndarray]]], Any]


@pytest.fixture
def rewrite() -> Callable[[Path, Change], None]:
    """rewrite(directory, change): calls `change` on name -> (dtype, array) of the weights file, then saves it."""

    def apply(directory: Path, change: Change) -> None:
        path = directory / "model.safetensors"
        file = SafetensorsFile(path)
        tensors = {name: (info.dtype, file.raw(name).copy()) for name, info in file.tensors.items()}
        change(tensors)
        items = [(name, dtype, array.shape, lambda array=array: array) for name, (dtype, array) in tensors.items()]
        write_safetensors(path, items)

    return apply


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """edit_config(path, key=value, ...): sets fields of a JSON file, or removes them where the value is ... itself."""

    def apply(path: Path, **changes: Any) -> None:
        content = json.loads(path.read_text())
        for key, value in changes.items():
            if value is ...:
                del content[key]
            else:
                content[key] = value
        path.write_text(json.dumps(content))

    return apply
