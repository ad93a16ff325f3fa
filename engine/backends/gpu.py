"""Whether this machine shows a GPU, found out without importing anything heavy."""

from __future__ import annotations

from pathlib import Path

NODES = ("nvidiactl", "dxg")  # of the driver: Linux, and Linux inside Windows


def present(devices: Path = Path("/dev")) -> bool:
    """Whether the NVIDIA driver has made its device nodes."""
    return any((devices / node).exists() for node in NODES)


def torch_for_gpu() -> bool:
    """Whether the installed torch is a build for CUDA, by its version alone."""
    from importlib import metadata  # 20 modules, and most machines have no GPU

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False
