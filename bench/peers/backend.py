"""Opens any subject of components and pipelines: one of the engine's backends, or a peer dressed as one."""

from __future__ import annotations

from typing import Any

from spar_engine.backends.choose import NAMES, open_backend
from spar_engine.errors import BackendError

from .base import ALL, split

PRECISIONS = {"native": ("fp32", "bf16", "int8", "int4"), "onnxruntime": ("fp32",), "torch": ("fp32", "bf16")}


def is_ours(subject: str) -> bool:
    """Whether `native-bf16` and the like name a backend of the engine; peers have names of their own."""
    name, _, precision = subject.rpartition("-")
    return name in NAMES and precision in PRECISIONS.get(name, (precision,))


def all_ours() -> list[str]:
    """Every backend of the engine with every precision."""
    return [f"{name}-{precision}" for name in NAMES for precision in PRECISIONS.get(name, ("bf16",))]


def open_subject_backend(subject: str, weights: Any, threads: int) -> Any:
    """`native-bf16`, `openvino-int8` ...; BackendError lists what there is."""
    name, _, precision = subject.rpartition("-")
    if is_ours(subject):
        return open_backend(name, weights, precision=precision, threads=threads)
    known = [*all_ours(), *(f"{peer.name}-{each}" for peer in ALL for each in peer.precisions)]
    if subject not in known:
        raise BackendError(f"subject {subject!r} is unknown; there are {', '.join(known)}")
    peer, precision = split(subject)
    return peer.load_backend().open_backend(peer.name, precision, weights, threads)
