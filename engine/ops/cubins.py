"""Loads Triton kernels that were compiled ahead of time, and launches them through the CUDA driver.

A folder made by `python -m spar_export.triton_aot` holds cubins and `manifest.json`:

    {"version": 1, "triton": "3.8.0", "kernels": {IDENTITY: {
        "op": ..., "kernel": ..., "parameters": [["query", "*bf16"], ["tokens", "i32"], ...],
        "cubins": {"90": {"file": ..., "sha256": ..., "symbol": ..., "shared": bytes, "trailing": pointers}}}}}

`trailing` counts pointers that Triton adds after the parameters (its scratch spaces); the kernels here need none, so
null pointers are passed. Triton itself is never imported.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from ..errors import ArtefactError, BackendError, MissingDependency
from .launches.launch import Launch, identity

VERSION = 1
WARP = 32
STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel may use without asking
_C_TYPES = {"i32": ctypes.c_int32, "fp32": ctypes.c_float}
_LIMITS = {"i32": 2**31}


def driver() -> Any:
    """The module `cuda.bindings.driver`."""
    try:
        from cuda.bindings import driver as found
    except ImportError as error:
        raise MissingDependency("kernels compiled ahead need cuda-python; pip install 'spar-engine[gpu]'") from error
    return found


def built_for(capability: tuple[int, int]) -> int:
    """Architecture of the cubins that run on a compute capability: 80 on 8.x, 90 on 9.0, 100 on 10.x; 0: none does."""
    major, minor = capability
    return {8: 80, 9: 90 if minor == 0 else 0, 10: 100 if minor == 0 else 0}.get(major, 0)


class Cubins:
    """The kernels of one folder for one architecture.

    folder  with manifest.json; arch 80, 90 or 100
    api     the driver's functions; None: cuda-python's
    errors  ArtefactError for a missing, damaged or foreign folder, MissingDependency without cuda-python
    """

    def __init__(self, folder: str | Path, arch: int, api: Any = None):
        self.folder, self.arch = Path(folder), arch
        self.kernels = self._manifest()
        self._api = driver() if api is None else api
        self._functions: dict[str, Any] = {}
        self._modules: list[Any] = []
        self._lock = threading.Lock()

    def ops(self) -> set[str]:
        """Ops of which some kernel is here for this architecture."""
        return {entry["op"] for entry in self.kernels.values() if str(self.arch) in entry["cubins"]}

    def has(self, launches: list[Launch]) -> bool:
        """Whether every launch can run: its kernel is here and its arguments are as aligned as the kernel was told."""
        for launch in launches:
            entry = self.kernels.get(identity(launch))
            if entry is None or str(self.arch) not in entry["cubins"] or not _aligned(launch):
                return False
        return True

    def run(self, launches: list[Launch], stream: int) -> None:
        """Queue launches on a stream; nothing waits."""
        for launch in launches:
            name = identity(launch)
            entry = self.kernels[name]
            found = entry["cubins"][str(self.arch)]
            values, types = _packed(launch, entry["parameters"], found["trailing"])
            grid = (*launch.grid, 1, 1)[:3]
            self._check(
                f"launch of {launch.kernel}",
                self._api.cuLaunchKernel(self._function(name), *grid, WARP * launch.warps, 1, 1, found["shared"],
                                         stream, (values, types), 0),
            )  # fmt: skip

    def close(self) -> None:
        """Unload every module; nothing may be running."""
        with self._lock:
            self._functions.clear()
            for module in self._modules:
                self._check("unloading", self._api.cuModuleUnload(module))
            self._modules.clear()

    def _manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path}: no manifest of compiled kernels ({error}); make it with: "
                                "python -m spar_export.triton_aot OUT") from error  # fmt: skip
        if found.get("version") != VERSION:
            raise ArtefactError(f"{path}: version {found.get('version')!r}, this engine reads {VERSION}; make it anew")
        return found["kernels"]

    def _function(self, name: str) -> Any:
        with self._lock:
            if name not in self._functions:
                entry = self.kernels[name]["cubins"][str(self.arch)]
                path = self.folder / entry["file"]
                code = path.read_bytes()
                if hashlib.sha256(code).hexdigest() != entry["sha256"]:
                    raise ArtefactError(f"{path}: its hash is not the manifest's; make the kernels anew")
                module = self._check(f"loading {path.name}", self._api.cuModuleLoadData(code))
                self._modules.append(module)
                function = self._check(entry["symbol"], self._api.cuModuleGetFunction(module, entry["symbol"].encode()))
                if entry["shared"] > STATIC_SHARED:
                    most = self._api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                    self._check(entry["symbol"], self._api.cuFuncSetAttribute(function, most, entry["shared"]))
                self._functions[name] = function
            return self._functions[name]

    def _check(self, what: str, answer: tuple[Any, ...]) -> Any:
        """The value of a driver call; its error code comes first."""
        status, *values = answer
        if int(status):
            raise BackendError(f"cuda: {what} failed with driver error {int(status)} ({status})")
        return values[0] if values else None


def _aligned(launch: Launch) -> bool:
    """Pointers and the numbers named `*_stride` were promised to be multiples of 16."""
    pointers = (tensor.data_ptr() for tensor in launch.tensors.values() if tensor is not None)
    strides = (number for name, number in launch.numbers.items() if name.endswith("_stride"))
    return not any(value % 16 for value in (*pointers, *strides))


def _packed(launch: Launch, parameters: list[list[str]], trailing: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Values and C types of a launch in the order of the compiled kernel."""
    arguments, values, types = launch.tensors | launch.numbers, [], []
    for name, kind in parameters:
        value = arguments[name]
        if kind.startswith("*"):
            value, c_type = value.data_ptr(), ctypes.c_void_p
        else:
            c_type = _C_TYPES[kind]
            if abs(value) >= _LIMITS.get(kind, float("inf")):
                raise BackendError(f"{launch.op}: {name}={value} does not fit the 32 bits of the kernel's argument")
        values.append(value)
        types.append(c_type)
    return (*values, *[0] * trailing), (*types, *[ctypes.c_void_p] * trailing)
