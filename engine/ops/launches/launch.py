"""One launch of one kernel, and the table of tuned settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ...errors import InputError

Scratch = Callable[[tuple[int, ...]], Any]
"""Makes a float32 work array of a shape on the device of the call."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Run `kernel` of `spar_engine.ops.triton.<op>` on a grid.

    tensors    pointer arguments by name; None where the constants leave an argument out
    numbers    run-time arguments by name: int as i32, float as fp32; those named `*_stride` are multiples of 16
    constants  compile-time arguments by name
    """

    op: str
    kernel: str
    grid: tuple[int, ...]
    tensors: dict[str, Any]
    numbers: dict[str, int | float]
    constants: dict[str, int | float | bool]
    warps: int = 4
    stages: int = 2


@cache
def _table() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("tuning.json").read_text("utf-8"))


def tuning(op: str, arch: int) -> dict[str, int]:
    """Settings of one op on an architecture (80, 90, 100): the op's own, with what the table changes for it."""
    entry = _table()[op]
    return entry["all"] | entry.get(str(arch), {})


def power_of_two(size: int, least: int = 16) -> int:
    """The least power of two that is at least `size` and `least`."""
    return max(least, 1 << (size - 1).bit_length()) if size else least


def divided(size: int, block: int) -> int:
    """Blocks that cover `size`."""
    return -(-size // block)


def strides(op: str, name: str, tensor: Any) -> tuple[int, ...]:
    """Strides of a tensor whose last axis must be dense."""
    found = tuple(tensor.stride())
    if found[-1] != 1 and tensor.shape[-1] > 1:
        raise InputError(f"{op}: `{name}` has stride {found[-1]} along its last axis; its entries must be neighbours")
    return found


def dense(op: str, **tensors: Any) -> None:
    """InputError for a tensor that is not contiguous."""
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_contiguous():
            raise InputError(f"{op}: `{name}` is not dense; pass a contiguous copy")


def alike(op: str, first: str, a: Any, second: str, b: Any) -> None:
    """InputError where two tensors differ in shape or strides."""
    if tuple(a.shape) != tuple(b.shape) or tuple(a.stride()) != tuple(b.stride()):
        raise InputError(f"{op}: `{first}` has shape {tuple(a.shape)} and strides {tuple(a.stride())}, `{second}` "
                         f"{tuple(b.shape)} and {tuple(b.stride())}; they must be laid out alike")  # fmt: skip


def row_stride(op: str, name: str, tensor: Any) -> int:
    """Distance of the rows of [batch, width], 0 where they are one row repeated."""
    found = strides(op, name, tensor)
    return 0 if tensor.shape[0] == 1 else found[0]


def kind_of(value: Any) -> str:
    """Type of a launch's argument as Triton spells it: "*bf16", "i32", "fp32", or "none"."""
    if value is None:
        return "none"
    if isinstance(value, int):
        return "i32"
    if isinstance(value, float):
        return "fp32"
    return f"*{_POINTED[str(value.dtype).removeprefix('torch.')]}"


_POINTED = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int32": "i32", "int64": "i64", "uint8": "u8"}


def identity(launch: Launch) -> str:
    """Name of the compiled kernel that a launch needs: 16 hex digits of what the compiler is told."""
    arguments = launch.tensors | launch.numbers
    told = {
        "op": launch.op, "kernel": launch.kernel, "constants": launch.constants,
        "arguments": {name: kind_of(value) for name, value in arguments.items()},
        "warps": launch.warps, "stages": launch.stages,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
