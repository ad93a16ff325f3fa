"""Where CUDA's compiler is: the toolkit of the machine, or NVIDIA's wheels in this Python's site-packages."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

REMEDY = (
    "install CUDA 12.8 or later and put nvcc on the path (or set CUDACXX or CUDA_HOME), or: pip install "
    + " ".join(f"'nvidia-{part}==13.0.*'" for part in ("cuda-nvcc", "nvvm", "cuda-crt", "cuda-runtime", "cuda-cccl"))
)


def find_nvcc() -> str | None:
    """The compiler, or None where there is none."""
    places = [os.environ.get("CUDACXX"), shutil.which("nvcc")]
    places += [Path(os.environ[name]) / "bin/nvcc" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    places += [Path("/usr/local/cuda/bin/nvcc")]
    places += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/bin/nvcc"), reverse=True)
    return next((str(place) for place in places if place and os.access(place, os.X_OK)), None)


def libraries(nvcc: str) -> str | None:
    """A folder that the linker has to be told of: the wheels have `lib` where nvcc looks for `lib64`."""
    root = Path(nvcc).resolve().parents[1]
    return str(root / "lib") if (root / "lib").is_dir() and not (root / "lib64").exists() else None
