"""Builds the C library once; skips where there is nothing to build it with."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def beside(name: str):
    """A module of this folder, which is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name.removeprefix('c_api_')}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


beside("c_api_library")
beside("c_api_probing")


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder with libspar.so and spar_probe; SPAR_C_API_BUILT names one that is there already."""
    if folder := os.environ.get("SPAR_C_API_BUILT"):
        return Path(folder)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    lacking = [tool for tool in ("cmake", "g++", "flock", "bash") if not shutil.which(tool, path=path)]
    if lacking:
        pytest.skip(f"building the C library needs {', '.join(lacking)} on the path")
    done = subprocess.run([ROOT / "csrc/c_api/build", "spar", "spar_probe"], capture_output=True, text=True,
                          env={**os.environ, "PATH": path})  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def library(built):
    return beside("c_api_library").Library(built / "libspar.so")


@pytest.fixture(scope="session")
def probe(built):
    return beside("c_api_probing").Probe(built / "spar_probe")


@pytest.fixture(scope="session")
def nano() -> Path:
    return ROOT / "engine" / "assets" / "spar-nano"
