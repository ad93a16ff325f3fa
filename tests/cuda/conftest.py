"""The CUDA ops on the CPU: built once for each content of their sources, kept in pytest's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import Emulated, build, compiler


@pytest.fixture(scope="session")
def build_folder(pytestconfig) -> Path:
    if compiler() is None:
        pytest.skip("the emulation of CUDA needs g++ (or CXX)")
    return Path(pytestconfig.cache.mkdir("cuda"))


@pytest.fixture(scope="session")
def emulated(build_folder) -> Emulated:
    return Emulated(build(build_folder))
