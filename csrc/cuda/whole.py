"""Builds `_cuda` as a user's build does, for every target, and looks at what is inside.

python csrc/cuda/whole.py FOLDER [--architectures "90a-real;80-virtual"]

Fails where CMake, nvcc or the link fail, where the module cannot be imported without a GPU, or where a target or an op
is missing from it. Ninja compiles only what has changed since the last time in FOLDER. No GPU is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from check import operators
from nvcc import REMEDY, find_nvcc, libraries

ROOT = Path(__file__).resolve().parents[2]
TARGETS = "80-real;89-real;90a-real;100-real;120-real;80-virtual"  # SPAR_CUDA_ARCHITECTURES of CMakeLists.txt
MAGIC = b"\x50\xed\x55\xba"  # of a fat binary
IMPORT = "import sys; sys.path.insert(0, sys.argv[1]); import _cuda; print(*sorted(vars(_cuda)))"


def run(*command: object) -> str:
    """What a command prints; SystemExit with its words where it fails."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"cuda-check: {' '.join(map(str, command[:2]))}:\n{done.stdout[-4000:]}")
    return done.stdout


def build(folder: Path, architectures: str) -> Path:
    """The module."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise SystemExit(f"cuda-check: there is no nvcc; {REMEDY}")
    if place := libraries(nvcc):
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (place, os.environ.get("LIBRARY_PATH"))))
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DSPAR_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DSPAR_CUDA_ARCHITECTURES={architectures}", "-Wno-dev")  # fmt: skip
    run(
        "cmake", "--build", folder, "--target", "_cuda", "--parallel", os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
    )
    return folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"


def inside(module: Path) -> set[str]:
    """Targets whose programs a compiled file holds: "90" machine code, "80-virtual" PTX; features ("90a") are not told.

    A fat binary is a header (magic, version and its own size, bytes that follow) and parts, each with its own header:
    at byte 0 its kind (1: PTX, 2: machine code), at 4 its size, at 8 the bytes after it, at 28 the target's number.
    """
    data, found = module.read_bytes(), set()
    for match in re.finditer(re.escape(MAGIC), data):
        _, own, size = struct.unpack_from("<HHQ", data, match.start() + 4)
        place = match.start() + own
        end = place + size
        while place + 32 <= min(end, len(data)):
            kind, _, header, length = struct.unpack_from("<HHIQ", data, place)
            (number,) = struct.unpack_from("<I", data, place + 28)
            if kind not in (1, 2) or header < 32:
                break  # the magic stood there by chance
            found.add(str(number) if kind == 2 else f"{number}-virtual")
            place += header + length
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where CMake builds; kept, for the next time")
    parser.add_argument("--architectures", default=TARGETS, help="as CMake lists them (%(default)s)")
    options = parser.parse_args()
    module = build(options.folder, options.architectures)
    wanted = {re.sub(r"a?-real$", "", target) for target in options.architectures.split(";")}
    if lacking := wanted - inside(module):
        raise SystemExit(f"cuda-check: {module.name} has no program for {', '.join(sorted(lacking))}")
    offered = run(sys.executable, "-c", IMPORT, options.folder).split()
    if lacking := set(operators()) - set(offered):
        raise SystemExit(f"cuda-check: {module.name} does not offer {', '.join(sorted(lacking))}")
    print(f"cuda-check: {module.name}: {module.stat().st_size >> 10} KiB for {', '.join(sorted(wanted))}; it imports")


if __name__ == "__main__":
    main()
