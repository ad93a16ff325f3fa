"""Builds `spar_engine._cuda` for the GPU that is here, and the Triton cubins, with nothing but what the machine has.

CMake, pybind11 and setuptools may all be missing: nvcc compiles every file by itself, and torch brings pybind11's
headers along.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .stages import Rows

ROOT = Path(__file__).resolve().parents[2]
CUBINS = ROOT / "build" / "gpu-check" / "cubins"


def sources(root: Path = ROOT) -> list[Path]:
    """Every file of the extension."""
    cuda = root / "csrc" / "cuda"
    return [*sorted(cuda.glob("*/*.cu")), *sorted(cuda.glob("*/*.cpp")), root / "csrc" / "cpu" / "dims.cpp"]


def commands(nvcc: str, arch: str, includes: list[str], out: Path, target: Path, root: Path = ROOT) -> list[list[str]]:
    """The compilations, then the link."""
    target_of = f"-gencode=arch={arch.replace('sm_', 'compute_')},code={arch}"  # no second pass for a plain sm_90
    flags = ["-std=c++20", "-O3", target_of, "-Xcompiler", "-fPIC,-fvisibility=hidden"]
    folders = [f"-I{folder}" for folder in (root / "csrc" / "include", root / "csrc" / "cuda", *includes)]
    made, objects = [], []
    for number, source in enumerate(sources(root)):
        objects.append(str(out / f"{number}.o"))
        made.append([nvcc, *flags, *folders, "-c", str(source), "-o", objects[-1]])
    made.append([nvcc, "-shared", "-cudart", "static", target_of, *objects, "-o", str(target)])
    return made


def headers() -> list[str]:
    """Folders of Python's and pybind11's headers; pybind11's from its own package, else from torch."""
    places = (sysconfig.get_path("include"), sysconfig.get_path("include", "posix_prefix"),
              sysconfig.get_config_var("INCLUDEPY"))  # fmt: skip
    found = [next((place for place in places if place and (Path(place) / "Python.h").exists()), None)]
    if found[0] is None:
        raise FileNotFoundError(f"there is no Python.h in {', '.join(map(str, places))}; install python3-dev")
    if importlib.util.find_spec("pybind11") is not None:
        import pybind11

        return [*found, pybind11.get_include()]
    torch = importlib.util.find_spec("torch")
    return [*found, str(Path(torch.origin).parent / "include")]


def architecture(capability: tuple[int, int]) -> str:
    """What nvcc calls a compute capability; from 9.0 on with the features of that very one."""
    major, minor = capability
    return f"sm_{major}{minor}" + ("a" if major >= 9 else "")


def find_nvcc() -> str:
    """The compiler, wherever the project's own build looks for it."""
    place = importlib.util.spec_from_file_location("spar_nvcc", ROOT / "csrc" / "cuda" / "nvcc.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    found = module.find_nvcc()
    if found is None:
        raise FileNotFoundError(f"there is no nvcc; {module.REMEDY}")
    return str(found)


def extension() -> dict[str, Any]:
    """Compile, link, import."""
    import torch

    nvcc, arch = find_nvcc(), architecture(torch.cuda.get_device_capability())
    target = ROOT / "engine" / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(8) as pool:
        *compiles, link = commands(nvcc, arch, headers(), Path(folder), target)
        for done in pool.map(_call, compiles):
            if done.returncode:
                raise RuntimeError(f"{done.args[-3]}: {done.stdout[-1500:]}")
        if (done := _call(link)).returncode:
            raise RuntimeError(done.stdout[-1500:])
    importlib.invalidate_caches()
    importlib.import_module("spar_engine._cuda")
    return {"ok": True, "arch": arch, "nvcc": nvcc, "files": len(compiles)}


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LIBRARY_PATH": str(Path(command[0]).resolve().parents[1] / "lib")}
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def cubins() -> dict[str, Any]:
    """The Triton kernels of spar-1b for the GPU that is here, as the runtime loads them."""
    import torch
    from spar_engine.config import preset
    from spar_engine.ops.cubins import built_for
    from spar_export.triton_aot import build

    arch = built_for(torch.cuda.get_device_capability())
    if not arch:
        return {"ok": None, "reason": f"no cubins for capability {torch.cuda.get_device_capability()}"}
    made = build(CUBINS, [preset("spar-1b")], [arch], say=lambda text: None)
    return {"ok": True, "arch": arch, "kernels": len(made["kernels"]), "triton": made["triton"]}


def main(path: str) -> int:
    rows = Rows(path)
    rows.attempt("extension", extension)
    rows.attempt("cubins", cubins)
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
