"""Fixtures that every test may use: where the golden vectors are, and what they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CARRIED = Path(__file__).parent / "golden"
BESIDE = Path(__file__).parents[2] / "shared" / "golden"  # the whole set, beside the checkout
TYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}


def pytest_configure(config: pytest.Config) -> None:
    """Digests, traces and graphs that tests make are kept for the next run, away from the user's own."""
    os.environ.setdefault("SPAR_CACHE", str(config.cache.mkdir("spar")))


def find(path: str, places: tuple[Path, ...]) -> Path:
    """The first of `places` that holds `path`; skips the test where none does."""
    for place in places:
        if (place / path).exists():
            return place / path
    pytest.skip(f"golden vectors: {path} is neither in tests/golden nor in shared/golden beside the checkout")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """golden("spar-tiny/t2i_0.safetensors"): one file or folder, the carried one first."""
    return lambda path: find(path, (CARRIED, BESIDE))


@pytest.fixture(scope="session")
def golden_dir() -> Callable[[str], Path]:
    """golden_dir("spar-tiny"): a folder as complete as it is to be had, the one beside the checkout first."""
    return lambda path: find(path, (BESIDE, CARRIED))


@pytest.fixture(scope="session")
def golden_tensors(golden) -> Callable[[str], dict[str, np.ndarray]]:
    """golden_tensors("spar-tiny/t2i_0"): every tensor of a file, by name, as read-only arrays."""

    def read(path: str) -> dict[str, np.ndarray]:
        raw = golden(f"{path}.safetensors").read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:start])
        header.pop("__metadata__", None)
        made = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            made[name] = np.frombuffer(raw[start + first : start + last], TYPES[entry["dtype"]]).reshape(entry["shape"])
        return made

    return read


@pytest.fixture(scope="session")
def golden_note(golden) -> Callable[[str], dict]:
    """golden_note("spar-tiny/t2i_0"): what a file says of itself: functions, texts, guidance scale, seed."""

    def read(path: str) -> dict:
        with golden(f"{path}.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return json.loads(header["__metadata__"]["golden"])

    return read


@pytest.fixture(scope="session")
def golden_tolerance(golden) -> Callable[[str, str], dict]:
    """golden_tolerance("spar-tiny/t2i_0", "decoded"): entry of tolerances.json, with "atol" where it is a float."""

    def read(path: str, tensor: str) -> dict:
        folder, file = path.split("/")
        return json.loads(golden(f"{folder}/tolerances.json").read_text("utf-8"))[file][tensor]

    return read
