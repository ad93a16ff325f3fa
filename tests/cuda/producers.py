"""Arrays shared by DLPack as other libraries might, made by hand: any type, layout, device and version."""

from __future__ import annotations

import ctypes

import numpy as np

CODES = {"float32": (2, 32), "uint16": (4, 16), "int32": (0, 32), "uint8": (1, 8)}
"""numpy's type -> code and bits; bits of bf16 are said to be bf16."""

_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype, _capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_named = ctypes.pythonapi.PyCapsule_GetName
_named.restype, _named.argtypes = ctypes.c_char_p, (ctypes.py_object,)
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("axes", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class _Unversioned(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]


class _Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", _Deleter), ("flags", ctypes.c_uint64), ("tensor", _Tensor)]  # fmt: skip


class Producer:
    """Shares a numpy array.

    device   DLPack's type and number
    version  None: a producer from before version 1, which knows no `max_version`; else (major, minor)
    flags    1 read-only, 2 copied
    offset   bytes that the pointer lies before the data
    strides  False: none, which means dense
    kind     (code, bits, lanes) in place of the array's own
    """

    def __init__(self, array: np.ndarray, *, device=(2, 0), version=(1, 1), flags=0, offset=0, strides=True, kind=None):
        self.array, self.device, self.version, self.flags = array, device, version, flags
        self.offset, self.strides, self.kind = offset, strides, kind or (*CODES[str(array.dtype)], 1)
        self.asked: list[dict] = []
        self.returned = 0
        self._kept: list = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **asked):
        if self.version is None and set(asked) != {"stream"}:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        self.asked.append(asked)
        tensor = self._tensor()
        deleter = _Deleter(self._take_back)
        if self.version is None:
            managed, name = _Unversioned(tensor, None, deleter), b"dltensor"
        else:
            managed, name = _Versioned(*self.version, None, deleter, self.flags, tensor), b"dltensor_versioned"
        self.capsule = _capsule(ctypes.addressof(managed), name, None)
        self._kept += [managed, deleter]
        return self.capsule

    def used(self) -> bool:
        """Whether the capsule says that someone has taken what it holds."""
        return _named(self.capsule).startswith(b"used_dltensor")

    def _take_back(self, managed: int) -> None:
        self.returned += 1

    def _tensor(self) -> _Tensor:
        axes = self.array.ndim
        sizes = ctypes.c_int64 * axes
        shape, strides = sizes(*self.array.shape), sizes(*(s // self.array.itemsize for s in self.array.strides))
        self._kept += [shape, strides]
        pointer = ctypes.POINTER(ctypes.c_int64)
        code, bits, lanes = self.kind
        return _Tensor(self.array.ctypes.data - self.offset, *self.device, axes, code, bits, lanes,
                       ctypes.cast(shape, pointer), ctypes.cast(strides, pointer) if self.strides else pointer(),
                       self.offset)  # fmt: skip
