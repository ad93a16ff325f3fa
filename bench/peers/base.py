"""What a peer is, and which there are."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from spar_engine.errors import BackendError, MissingDependency

Arrays = dict[str, np.ndarray]


class Bound(Protocol):
    """A prepared piece of work over fixed input buffers."""

    def run(self) -> None:
        """Do it, and be done."""

    def outputs(self) -> Arrays:
        """Copies of the last results, float32 or integers."""

    def live(self) -> Arrays:
        """Views of result buffers that are the caller's; {} when the library allocates them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One library with one way of calling it.

    precisions  what it may be asked for
    needs       packages it needs
    module      of this package; it offers what `kernels` and `components` call
    settings    everything that is done to call it well
    """

    name: str
    precisions: tuple[str, ...]
    needs: tuple[str, ...]
    module: str
    settings: str

    def missing(self) -> list[str]:
        return [package for package in self.needs if importlib.util.find_spec(package) is None]

    def load(self) -> Any:
        """The module that builds it; MissingDependency names what to install."""
        if missing := self.missing():
            raise MissingDependency(f"peer {self.name} needs {', '.join(missing)}; pip install {' '.join(missing)}")
        return importlib.import_module(f"{__package__}.{self.module}")


ALL = (
    Peer("torch-eager", ("fp32", "bf16"), ("torch",), "torch_peer",
         "torch.inference_mode; what depends on weights alone is folded once; threads set to those of the row"),
    Peer("torch-compile", ("fp32", "bf16"), ("torch",), "torch_peer",
         "torch.compile with inductor freezing (weights packed for oneDNN), static shapes, compiled and run before the "
         "clock starts; our operators given as plain compositions, so that it may fuse them"),
    Peer("onnxruntime", ("fp32", "int8"), ("onnxruntime", "onnx"), "onnxruntime_peer",
         "all graph optimizations, sequential execution, IO binding over fixed buffers, constants folded; int8 is "
         "dynamic quantization of MatMul and Gemm weights per channel"),
    Peer("openvino", ("fp32", "bf16", "int8"), ("openvino", "onnx"), "openvino_peer",
         "latency hint, one stream, static shapes where they do not change from call to call, tensors bound without "
         "copies; bf16 by the inference precision hint; int8 is weight compression per channel with dynamic "
         "quantization of activations"),
)  # fmt: skip


def peer(name: str) -> Peer:
    """The peer of that name, or a BackendError that lists them."""
    for candidate in ALL:
        if candidate.name == name:
            return candidate
    raise BackendError(f"peer {name!r} is unknown; there are {', '.join(each.name for each in ALL)}")


def split(wanted: str) -> tuple[Peer, str]:
    """`openvino-bf16` -> the peer and a precision it has."""
    name, _, precision = wanted.rpartition("-")
    chosen = peer(name)
    if precision not in chosen.precisions:
        raise BackendError(f"peer {name} has no precision {precision!r}; it has {', '.join(chosen.precisions)}")
    return chosen, precision
