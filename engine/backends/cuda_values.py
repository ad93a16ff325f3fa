"""Values that stay on the device between two calls, and buffers that graphs read and write."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .seam import Staying


class OnDevice(Staying):
    """Wraps a tensor; numpy gets a float32 copy when it asks."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes

    def __getitem__(self, where: Any) -> OnDevice:
        return OnDevice(self.tensor[where])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.tensor.float().cpu().numpy(), dtype=dtype)

    def _concatenated(self, parts: Sequence[Any], axis: int = 0) -> OnDevice:
        device, dtype = self.tensor.device, self.tensor.dtype
        with on(device):
            tensors = [part.tensor if isinstance(part, OnDevice) else host(part).to(device, non_blocking=True).to(dtype)
                       for part in parts]  # fmt: skip
            return OnDevice(torch.cat(tensors, axis))


class Buffers:
    """Zeroed tensors by name, shape and type, made once: a captured graph keeps their addresses."""

    def __init__(self, device: torch.device):
        self.device = device
        self._made: dict[tuple[Any, ...], torch.Tensor] = {}

    def get(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        key = (name, shape, dtype)
        if key not in self._made:
            self._made[key] = torch.zeros(shape, dtype=dtype, device=self.device)
        return self._made[key]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._made.values())

    def clear(self) -> None:
        self._made.clear()


def padded(tokens: int, bucket: int) -> int:
    """`tokens`, rounded up to a multiple of `bucket`."""
    return -(-tokens // bucket) * bucket


def on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Make a GPU the current one of this thread: requests run in threads that know of none."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def host(array: Any) -> torch.Tensor:
    """An array as a tensor; a copy where it may not be written to."""
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def put(target: torch.Tensor, value: Any) -> None:
    """Copy an array or a value on the device into a buffer of its shape; queued, not waited for."""
    if isinstance(value, OnDevice):
        target.copy_(value.tensor, non_blocking=True)
    else:
        target.copy_(host(value), non_blocking=True)


def put_padded(target: torch.Tensor, value: Any) -> None:
    """Copy an array or a value on the device into the first corner of a buffer that is no smaller, and zeros into the
    rest."""
    for axis, size in enumerate(value.shape):
        target.narrow(axis, size, target.shape[axis] - size).zero_()
    put(target[tuple(slice(size) for size in value.shape)], value)
