"""Which backend answers, and in which precision."""

from __future__ import annotations

import importlib.util
from typing import Any

from ..errors import BackendError, MissingDependency

NAMES = ("onnxruntime", "torch")


def installed(name: str) -> bool:
    """Whether the library behind a backend can be imported; nothing is imported."""
    return importlib.util.find_spec(name) is not None


def resolve(name: str) -> tuple[str, str]:
    """The backend to use for `name`, and the reason in a few words."""
    if name != "auto":
        if name not in NAMES:
            raise BackendError(f"backend={name!r} is unknown; this version has {', '.join(NAMES)} and auto")
        if not installed(name):
            raise MissingDependency(f"backend={name!r} needs the package {name}, which is not installed; "
                                    f"pip install 'spar-engine[{'export' if name == 'torch' else 'dev'}]'")
        return name, "asked for"
    for candidate in NAMES:
        if installed(candidate):
            return candidate, "first of the installed backends"
    raise MissingDependency(f"no backend is installed; pip install one of {', '.join(NAMES)}")


def open_backend(name: str, weights: Any, **options: Any) -> Any:
    """Build the named backend over opened weights; options go to its constructor."""
    if name == "torch":
        from .torch import TorchBackend

        return TorchBackend(weights, **options)
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(weights, **options)
