"""What the CUDA driver says of this machine, asked for without any package."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from ...errors import MissingDependency

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@cache
def _driver() -> Any:
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
    _driver().cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def capability(device: int = 0) -> str:
    """Compute capability of a GPU, as `sm90`; MissingDependency without a driver or GPU."""
    library, handle, found = _driver(), ctypes.c_int(), []
    if status := library.cuDeviceGet(ctypes.byref(handle), device):
        raise MissingDependency(f"the NVIDIA driver has no GPU number {device} (cuDeviceGet gives {status})")
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        found.append(value.value)
    return f"sm{found[0]}{found[1]}"
