"""Arrays as the CUDA ops see them, each alone between guard zones, in the memory of the CPU or of a GPU."""

from __future__ import annotations

import numpy as np
from spar_engine.weights.dtypes import to_bf16, to_f32

GUARD = 4096
TYPES = {"float32": "<f4", "uint16": "<V2", "int32": "<i4", "uint8": "|u1"}


class StrayWriteError(AssertionError):
    """An op wrote where it may not."""


class OnDevice:
    """A copy of `array`; what lies around it in memory is NaN in every type, and must stay so.

    on_gpu  of all arrays: they lie on the GPU, through torch; on the CPU, for the emulation, unless set
    order   axes from the slowest to the fastest in memory; as they come unless given
    result  whether an op may write to it; its elements are NaN (255) until one does
    """

    on_gpu = False

    def __init__(self, array: np.ndarray, order: tuple[int, ...] | None = None, result: bool = False):
        order = order or tuple(range(array.ndim))
        dense = np.ascontiguousarray(array.transpose(order))
        self._memory = np.full(dense.nbytes + 2 * GUARD + 16, 0xFF, np.uint8)
        self._start = GUARD + -(self._memory.ctypes.data + GUARD) % 16
        self._end = self._start + dense.nbytes
        inner = self._memory[self._start : self._end].view(dense.dtype).reshape(dense.shape)
        if not result:
            inner[...] = dense
        self._view = inner.transpose(np.argsort(order))
        self._before = self._memory.copy()
        self._result = result
        self._remote, address = None, self._memory.ctypes.data
        if self.on_gpu:
            import torch

            skew = address % 16  # of the copy as of the original
            self._remote = torch.empty(self._memory.nbytes + 16, dtype=torch.uint8, device="cuda")[skew:][
                : len(self._memory)
            ]
            self._remote.copy_(torch.from_numpy(self._memory))
            address = self._remote.data_ptr()
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "strides": self._view.strides,
            "typestr": TYPES[str(array.dtype)],
            "data": (address + self._start, not result),
            "version": 2,
        }

    def may_change(self) -> None:
        """Makes an input one that an op may overwrite."""
        self._result = True
        self.__cuda_array_interface__["data"] = (self.__cuda_array_interface__["data"][0], False)

    def fill(self, byte: int) -> None:
        """Sets every byte of an array that is only scratch."""
        (self._memory if self._remote is None else self._remote)[self._start : self._end] = byte

    def get(self) -> np.ndarray:
        """What the op left; StrayWriteError where it wrote outside, or into an input."""
        if self._remote is not None:
            self._memory[...] = self._remote.cpu().numpy()
        same = self._memory == self._before
        if self._result:
            same[self._start : self._end] = True
        if not same.all():
            place = np.flatnonzero(~same)[0] - self._start
            raise StrayWriteError(f"byte {place} was written; the array has {self._end - self._start} bytes")
        return self._view.copy()


def empty(shape: tuple[int, ...], dtype: str, order: tuple[int, ...] | None = None) -> OnDevice:
    return OnDevice(np.empty(shape, dtype), order, result=True)


def bits(values: np.ndarray, order: tuple[int, ...] | None = None) -> OnDevice:
    """float32 values that bf16 holds, as bf16."""
    return OnDevice(to_bf16(values), order)


def scratch(size: int) -> OnDevice | None:
    return empty((size,), "uint8") if size else None


def wide(device: OnDevice) -> np.ndarray:
    """A result in bf16 or float32, as float32."""
    values = device.get()
    return to_f32(values, "BF16") if values.dtype == np.uint16 else values


def eights(values: np.ndarray) -> np.ndarray:
    """What bits of e4m3 stand for, as float32."""
    return to_f32(values, "F8_E4M3")


def as_bf16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to what bf16 holds."""
    return to_f32(to_bf16(np.ascontiguousarray(values, np.float32)), "BF16")
