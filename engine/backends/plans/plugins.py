"""The library of our TensorRT plugins, libspar_trt: where it is, and which one it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import ArtefactError
from ...weights.digest import file_digest

FILE = "libspar_trt.so"
NONE = "none"


def plugin_library() -> Path | None:
    """The library: what $SPAR_TRT_PLUGINS names, else the one in the package; None where there is none."""
    asked = os.environ.get("SPAR_TRT_PLUGINS")
    if asked and not Path(asked).is_file():
        raise ArtefactError(f"SPAR_TRT_PLUGINS={asked}: is not a file; build it with -DSPAR_TENSORRT=ON, or unset it")
    path = Path(asked) if asked else Path(__file__).parents[2] / FILE
    return path if path.is_file() else None


def kernels(path: Path | None) -> str:
    """What a plan with plugins depends on, as its key says it."""
    return NONE if path is None else file_digest(path)


def load_plugins(trt: Any, component: str, wanted: str) -> None:
    """Load the library into TensorRT; ArtefactError unless it is the one that the plan was built with."""
    path = plugin_library()
    if path is None:
        raise ArtefactError(f"{component}: its plan needs {FILE}; build it with -DSPAR_TENSORRT=ON and name it in "
                            "SPAR_TRT_PLUGINS, or build the plan again without it")  # fmt: skip
    if kernels(path) != wanted:
        raise ArtefactError(f"{component}: {path} is not the library that its plan was built with; build it again")
    if trt.get_plugin_registry().load_library(str(path)) is None:
        raise ArtefactError(f"{component}: TensorRT does not load {path}; build it against this version of TensorRT")
