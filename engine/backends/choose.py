"""Which backend answers, and in which precision."""

from __future__ import annotations

import importlib.util
from typing import Any

from ..errors import BackendError, MissingDependency
from . import gpu
from .plans.library import PACKAGES

# Best first, as "auto" takes them; and what each needs to be importable, and how to get it.
NEEDS = {
    "cuda": ("torch", "it takes an NVIDIA GPU with its driver, and torch for CUDA: pip install 'spar-engine[gpu]'"),
    "native": ("spar_engine._native", "reinstall spar-engine where a C++ compiler is"),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
    "torch": ("torch", "pip install 'spar-engine[export]'"),
    "tensorrt": ("tensorrt_rtx or tensorrt", "pip install 'spar-engine[tensorrt]'; it takes plans=DIRECTORY as well"),
}
NAMES = tuple(NEEDS)


def installed(name: str) -> bool:
    """Whether what a backend needs is there; nothing heavy is imported to find out."""
    if name == "cuda" and not (gpu.present() and gpu.torch_for_gpu()):
        return False
    if name == "tensorrt":
        return any(importlib.util.find_spec(package) for package in PACKAGES.values())
    return importlib.util.find_spec(NEEDS[name][0]) is not None


def resolve(name: str) -> tuple[str, str]:
    """The backend to use for `name`, and the reason in a few words."""
    if name == "auto":
        for candidate in NAMES:
            if candidate != "tensorrt" and installed(candidate):  # it needs plans, which must be named
                return candidate, "auto: the first that is installed"
        raise MissingDependency("no backend is installed; " + ", or ".join(remedy for _, remedy in NEEDS.values()))
    if name not in NAMES:
        raise BackendError(f"backend={name!r} is unknown; this version has {', '.join(NAMES)} and auto")
    if not installed(name):
        needed, remedy = NEEDS[name]
        what = (
            "a GPU and torch for it, which are not both here" if name == "cuda" else f"{needed}, which is not installed"
        )
        raise MissingDependency(f"backend={name!r} needs {what}; {remedy}")
    return name, "asked for"


def open_backend(name: str, weights: Any, **options: Any) -> Any:
    """Build the named backend over opened weights; options go to its constructor."""
    if name == "native":
        from .native import NativeBackend as Chosen
    elif name == "cuda":
        from .cuda import CudaBackend as Chosen
    elif name == "onnxruntime":
        from .onnxruntime import OnnxRuntimeBackend as Chosen
    elif name == "tensorrt":
        from .tensorrt import TensorRTBackend as Chosen
    else:
        from .torch import TorchBackend as Chosen
    return Chosen(weights, **options)
