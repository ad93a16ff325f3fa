"""Builds the CUDA ops with the host compiler over the emulation of csrc/tests/cuda_emulation, once for each content."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import pybind11

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
NAME = "_cuda_emulated"
FLAGS = (
    *("-std=c++20", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"),
    # _longjmp between stacks is what fibers are made of; unroll pragmas are for nvcc.
    *("-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
    *("-DSPAR_CUDA_EMULATION", f"-DSPAR_CUDA_MODULE={NAME}"),
    *(f"-I{CSRC / folder}" for folder in ("tests", "cuda", "include")),
    *(f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))),
)


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def sources() -> list[Path]:
    found = [*CSRC.glob("cuda/*/sm80.cu"), *CSRC.glob("cuda/bindings/*.cpp"), *CSRC.glob("tests/cuda_emulation/*.cpp")]
    return sorted([*found, CSRC / "cpu/dims.cpp"])


def _digest(*parts: str | bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        made.update(part.encode() if isinstance(part, str) else part)
        made.update(b"\0")
    return made.hexdigest()[:20]


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"


def build(folder: Path, changed: dict[Path, str] | None = None) -> Path:
    """The extension module, built in `folder` from what is not there yet.

    changed  source file -> text to compile in its place, for deliberately broken kernels
    """
    changed = changed or {}
    headers = [*CSRC.glob("cuda/**/*.h"), *CSRC.glob("tests/cuda_emulation/*.h"), *CSRC.glob("include/engine/*.h")]
    common = _digest(str(FLAGS), compiler(), pybind11.__version__, *(path.read_bytes() for path in sorted(headers)))
    objects = []
    for source in sources():
        text = changed.get(source, source.read_text("utf-8"))
        # Broken copies run once, and bindings do little: their compilation is what takes time.
        level = "-O0" if source in changed or source.parent.name == "bindings" else "-O1"
        made = folder / f"{_digest(common, str(source.relative_to(CSRC)), level, text)}.o"
        if not made.exists():
            aside = folder / f"{made.stem}.{os.getpid()}"
            copy = aside.with_suffix(".cpp")
            copy.write_text(f'#line 1 "{source}"\n{text}', "utf-8")
            _run(compiler(), *FLAGS, level, f"-I{source.parent}", "-c", copy, "-o", aside)
            copy.unlink()
            aside.replace(made)
        objects.append(made)
    module = folder / f"{_digest(*(path.name for path in objects))}.so"
    if not module.exists():
        aside = folder / f"{module.stem}.{os.getpid()}.so"
        _run(compiler(), "-shared", *objects, "-o", aside)
        aside.replace(module)
    return module


class Emulated:
    """The ops as `spar_engine._cuda` has them, and the switches of the emulation."""

    def __init__(self, path: Path):
        name = f"{path.stem}.{NAME}"  # pybind11 gives the same module again for the same name
        loader = ExtensionFileLoader(name, str(path))
        self.ops: ModuleType = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
        loader.exec_module(self.ops)
        self._switches = ctypes.CDLL(str(path))
        self._switches.emulation_launches.restype = ctypes.c_size_t
        self._switches.emulation_waits.restype = ctypes.c_size_t
        for name in ("emulation_waiting", "emulation_awaited"):
            getattr(self._switches, name).restype = ctypes.c_void_p

    def order(self, seed: int) -> None:
        """Warps and lanes run: 0 as numbered, with late copies; 1 backwards, with early ones; others shuffled."""
        self._switches.emulation_set_order(ctypes.c_uint(seed))

    def shared_limit(self, size: int) -> None:
        """Bytes of shared memory that a block may have; 0: any."""
        self._switches.emulation_set_shared_limit(ctypes.c_size_t(size))

    def clusters(self, blocks: int) -> None:
        """Blocks that a cluster may have; 1: the GPU has no clusters."""
        self._switches.emulation_set_clusters(ctypes.c_uint(blocks))

    def launches(self) -> int:
        return self._switches.emulation_launches()

    def device(self, number: int) -> None:
        """The GPU that launches go to; the memory of the CPU stands for that of GPU 0."""
        self._switches.emulation_set_device(number)

    def host_pointer(self, address: int) -> None:
        """An address that no GPU has; 0: none."""
        self._switches.emulation_set_host_pointer(ctypes.c_void_p(address or None))

    def waits(self) -> tuple[int, int | None, int | None]:
        """How often a stream had to wait so far; which one did last, and for which."""
        return (self._switches.emulation_waits(), self._switches.emulation_waiting(),
                self._switches.emulation_awaited())  # fmt: skip


def kernel(op: str) -> Path:
    return CSRC / "cuda" / op / "sm80.cu"


def replaced(path: Path, place: str, by: str) -> str:
    """The text of a file with `place` replaced; AssertionError unless it is there exactly once."""
    text = path.read_text("utf-8")
    assert text.count(place) == 1, f"{path}: {place!r} is there {text.count(place)} times"
    return text.replace(place, by)
