"""What this machine is: GPU, versions, and which tools of the check are missing."""

from __future__ import annotations

import sys
from typing import Any

from ..harness.environment import gpus, versions
from ..machine.gpu import gpu_roofs
from .stages import Rows, missing

TOOLS = ("nvcc", "g++", "compute-sanitizer", "nvidia-smi", "module:torch", "module:triton", "module:cuda.bindings",
         "module:pytest", "module:pybind11")  # fmt: skip


def look() -> dict[str, Any]:
    """Names, versions and missing tools; without a GPU that torch can use `ok` is False."""
    found: dict[str, Any] = {"gpus": gpus(), "versions": versions(), "missing": _absent()}
    try:
        import torch
    except ImportError:
        return found | {"ok": False, "error": "torch is not installed"}
    found["ok"] = torch.cuda.is_available()
    found["torch_cuda"] = torch.version.cuda
    if not found["ok"]:
        found["error"] = "torch finds no GPU"
    else:
        found["device"] = torch.cuda.get_device_name()
        found["capability"] = list(torch.cuda.get_device_capability())
    return found


def _absent() -> list[str]:
    absent = []
    for tool in TOOLS:
        try:
            absent += missing((tool,))
        except ModuleNotFoundError:  # a parent package is missing
            absent.append(tool.removeprefix("module:"))
    return absent


def main(path: str) -> int:
    rows = Rows(path)
    rows.attempt("machine", look)
    rows.attempt("roofs", lambda: {"roofs": gpu_roofs(10)})
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
