"""Builds `_cuda` and libspar_trt as a user's build does, for every target, and looks at what is inside.

python csrc/cuda/whole.py FOLDER [--architectures "90a-real;80-virtual"]

Fails where CMake, nvcc or the link fail, where the module cannot be imported or the plugins cannot be loaded without a
GPU, or where a target, an op or a plugin is missing. The plugins are left out, and said to be, where there are no
headers of TensorRT. Ninja compiles only what has changed since the last time in FOLDER. No GPU is needed.
"""

from __future__ import annotations

import argparse
import importlib.util
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
PLUGINS = """import ctypes, sys
count = ctypes.c_int32()
creators = ctypes.CDLL(sys.argv[1]).getCreators
creators.restype = ctypes.POINTER(ctypes.c_void_p)
found = creators(ctypes.byref(count))
print(sum(bool(found[i]) for i in range(count.value)))
"""


def run(*command: object) -> str:
    """What a command prints; SystemExit with its words where it fails."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"cuda-check: {' '.join(map(str, command[:2]))}:\n{done.stdout[-4000:]}")
    return done.stdout


def tensorrt_headers() -> Path | None:
    """The folder of NvInfer.h: SPAR_TENSORRT_INCLUDE, or of the wheel that carries it; None without."""
    if given := os.environ.get("SPAR_TENSORRT_INCLUDE"):
        return Path(given)
    wheel = importlib.util.find_spec("kernel_lens")
    folder = Path(wheel.origin).parent / "include" / "tensorrt" if wheel else None
    return folder if folder and (folder / "NvInfer.h").exists() else None


def build(folder: Path, architectures: str, headers: Path | None) -> list[Path]:
    """The module, and with headers of TensorRT the plugins."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise SystemExit(f"cuda-check: there is no nvcc; {REMEDY}")
    if place := libraries(nvcc):
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (place, os.environ.get("LIBRARY_PATH"))))
    plugins = ["-DSPAR_TENSORRT=ON", f"-DSPAR_TENSORRT_INCLUDE={headers}"] if headers else ["-DSPAR_TENSORRT=OFF"]
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DSPAR_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DSPAR_CUDA_ARCHITECTURES={architectures}", *plugins, "-Wno-dev")  # fmt: skip
    run("cmake", "--build", folder, "--target", "_cuda", *(["spar_trt"] if headers else []),
        "--parallel", os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2"))  # fmt: skip
    module = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    return [module, folder / "libspar_trt.so"] if headers else [module]


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
    headers = tensorrt_headers()
    built = build(options.folder, options.architectures, headers)
    wanted = {re.sub(r"a?-real$", "", target) for target in options.architectures.split(";")}
    for file in built:
        if lacking := wanted - inside(file):
            raise SystemExit(f"cuda-check: {file.name} has no program for {', '.join(sorted(lacking))}")
    offered = run(sys.executable, "-c", IMPORT, options.folder).split()
    if lacking := set(operators()) - set(offered):
        raise SystemExit(f"cuda-check: {built[0].name} does not offer {', '.join(sorted(lacking))}")
    plugins = len(list((ROOT / "csrc" / "trt").glob("*.cpp"))) - 1  # all but library.cpp
    if headers and int(made := run(sys.executable, "-c", PLUGINS, built[1])) != plugins:
        raise SystemExit(f"cuda-check: {built[1].name} has {made.strip()} plugins of {plugins}")
    for file, fine in zip(built, ("it imports", f"it loads and has {plugins} plugins"), strict=False):
        print(f"cuda-check: {file.name}: {file.stat().st_size >> 10} KiB for {', '.join(sorted(wanted))}; {fine}")
    if headers is None:
        print("cuda-check: libspar_trt was left out: no NvInfer.h; pip install --no-deps kernel-lens==2.0.1")


if __name__ == "__main__":
    main()
