"""What besides our own code decides how a graph looks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

OPSET = 23
IR_VERSION = 11


def versions() -> dict[str, str]:
    """The opset, and the versions of the libraries that trace and write."""
    found = {"opset": str(OPSET)}
    for package in ("torch", "onnx"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
