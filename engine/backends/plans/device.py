"""One GPU through the CUDA driver's own library: memory, copies, streams, captured graphs. No package is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...errors import BackendError, MissingDependency

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may allocate meanwhile
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


@cache
def driver() -> Any:
    """The driver's library, initialised; MissingDependency where there is none, or no GPU."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise MissingDependency(
            "there is no NVIDIA driver on this machine (libcuda.so.1 is missing); install one, or use backend='native'"
        ) from None
    if status := library.cuInit(0):
        raise MissingDependency(f"the NVIDIA driver finds no GPU (cuInit gives {status}); use backend='native'")
    return library


def driver_version() -> str:
    """CUDA version that the driver supports, as `13.0`; MissingDependency without one."""
    version = ctypes.c_int()
    driver().cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def capability(device: int = 0) -> str:
    """Compute capability of a GPU, as `sm90`; MissingDependency without a driver or GPU."""
    library, handle, found = driver(), ctypes.c_int(), []
    if status := library.cuDeviceGet(ctypes.byref(handle), device):
        raise MissingDependency(f"the NVIDIA driver has no GPU number {device} (cuDeviceGet gives {status})")
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        found.append(value.value)
    return f"sm{found[0]}{found[1]}"


class Device:
    """A GPU, by number. Addresses and handles are plain integers."""

    def __init__(self, number: int = 0):
        self.capability = capability(number)
        self._library = driver()
        handle, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(handle), number)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), handle)

    def enter(self) -> None:
        """Make the calling thread use this GPU."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Address of `size` new bytes."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def copy_in(self, address: int, array: np.ndarray, stream: int) -> None:
        """From a C-contiguous array, which is copied before the call returns unless its memory is pinned."""
        if array.nbytes:
            self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data),
                       ctypes.c_size_t(array.nbytes), ctypes.c_void_p(stream))  # fmt: skip

    def copy_out(self, array: np.ndarray, address: int, stream: int) -> None:
        """To a C-contiguous array; complete after `wait`."""
        if array.nbytes:
            self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address),
                       ctypes.c_size_t(array.nbytes), ctypes.c_void_p(stream))  # fmt: skip

    def copy(self, to: int, address: int, size: int, stream: int) -> None:
        """From one place on the GPU to another."""
        if size:
            self._call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(to), ctypes.c_uint64(address), ctypes.c_size_t(size),
                       ctypes.c_void_p(stream))  # fmt: skip

    def stream(self) -> int:
        """A new stream."""
        handle = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        return handle.value

    def end_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def wait(self, stream: int) -> None:
        """Until everything in the stream is done; BackendError when it went wrong."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """What `work` puts into the stream, as a graph that can be launched again."""
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _RELAXED)
        try:
            work()
        finally:
            self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        self._call("cuGraphDestroy", graph)
        return made.value

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def end_graph(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(text))
            raise BackendError(f"tensorrt: {name} gives {(text.value or b'error').decode()} ({status})")
