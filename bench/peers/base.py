"""What a peer is, and which there are."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from spar_engine.errors import BackendError, MissingDependency

from ..harness.environment import gpus

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
    kernels     module of this package that builds single ops, or None
    backend     module of this package that runs components
    gpu         whether it runs on a GPU, else on the CPU
    settings    everything that is done to call it well
    """

    name: str
    precisions: tuple[str, ...]
    needs: tuple[str, ...]
    kernels: str | None
    backend: str
    settings: str
    gpu: bool = False

    def missing(self) -> list[str]:
        """What it needs and this machine does not have."""
        lacking = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return lacking + (["a CUDA GPU"] if self.gpu and not lacking and not _has_gpu() else [])

    def load_kernels(self) -> Any:
        if self.kernels is None:
            raise BackendError(f"peer {self.name} runs components, not single ops")
        return self._import(self.kernels)

    def load_backend(self) -> Any:
        return self._import(self.backend)

    def _import(self, module: str) -> Any:
        if missing := self.missing():
            raise MissingDependency(f"peer {self.name} needs {', '.join(missing)}, which this machine does not have")
        return importlib.import_module(f"{__package__}.{module}")


@cache
def _has_gpu() -> bool:
    """Whether a driver shows a GPU; asked without importing torch."""
    return bool(gpus())


_COMPILED = (
    "torch.compile with inductor freezing (weights packed for oneDNN), static shapes, compiled and run before the "
    "clock starts; our operators given as plain compositions, so that it may fuse them"
)
ALL = (
    Peer("torch-eager", ("fp32", "bf16"), ("torch",), "torch_peer", "torch_backend",
         "torch.inference_mode; what depends on weights alone is folded once; threads set to those of the row"),
    Peer("torch-compile", ("fp32", "bf16"), ("torch",), "torch_peer", "torch_backend", _COMPILED),
    Peer("onnxruntime", ("fp32", "int8"), ("onnxruntime", "onnx"), "onnxruntime_peer", "onnxruntime_backend",
         "all graph optimizations, sequential execution, IO binding over fixed buffers (single ops), constants folded; "
         "int8 is dynamic quantization of MatMul and Gemm weights per channel; fp32 is the engine's own backend"),
    Peer("openvino", ("fp32", "bf16", "int8"), ("openvino", "onnx"), "openvino_peer", "openvino_backend",
         "latency hint, one stream, static shapes where they do not change from call to call, tensors shared without "
         "copies; bf16 by the inference precision hint; int8 is NNCF weight compression per channel with dynamic "
         "quantization of activations; timestep embeddings stay in float32"),
    Peer("torch-cuda", ("fp32", "bf16"), ("torch",), None, "torch_backend",
         "torch.inference_mode on the GPU", gpu=True),
    Peer("torch-cuda-graphs", ("fp32", "bf16"), ("torch",), None, "torch_backend",
         "every component captured once for each set of shapes and replayed", gpu=True),
    Peer("torch-max-autotune", ("fp32", "bf16"), ("torch",), None, "torch_backend",
         "torch.compile, mode max-autotune, which also captures CUDA graphs", gpu=True),
    Peer("tensorrt", ("fp32", "bf16", "fp16"), ("tensorrt", "torch", "onnx"), None, "tensorrt_backend",
         "engines built from the exported graphs, our operators opened into standard ones, static shapes", gpu=True),
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
