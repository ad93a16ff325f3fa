"""The loader of compiled kernels, with a driver that notes what it is told."""

from __future__ import annotations

import ctypes
import hashlib
import json
import types

import pytest
from spar_engine.errors import ArtefactError, BackendError
from spar_engine.ops.cubins import Cubins, built_for
from spar_engine.ops.launches.launch import Launch, identity

CODE = b"a cubin"


class Pointer:
    """As much of a tensor as a launch looks at."""

    def __init__(self, address: int, dtype: str = "torch.bfloat16"):
        self.address, self.dtype = address, dtype

    def data_ptr(self) -> int:
        return self.address


class Driver:
    """Driver functions that succeed and remember; `fails` names one that does not."""

    CUfunction_attribute = types.SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="most shared")

    def __init__(self, fails: str = ""):
        self.calls, self.fails = [], fails

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            return (700 if name == self.fails else 0), f"{name} result"

        return call

    def named(self, name):
        return [arguments for called, *arguments in self.calls if called == name]


def launch(**numbers):
    return Launch("gate_residual", "gate_residual", (6, 2), {"x": Pointer(4096), "gate": None, "out": Pointer(8192)},
                  {"tokens": 3, "gate_stride": 32, "share": 0.5} | numbers, {"WIDTH": 64}, warps=8)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "kernel.cubin").write_bytes(CODE)
    entry = {
        "op": "gate_residual", "kernel": "gate_residual",
        "parameters": [["x", "*bf16"], ["out", "*bf16"], ["tokens", "i32"], ["gate_stride", "i32"], ["share", "fp32"]],
        "cubins": {"90": {"file": "kernel.cubin", "sha256": hashlib.sha256(CODE).hexdigest(), "symbol": "gate",
                          "shared": 65536, "trailing": 2}},
    }  # fmt: skip
    manifest = {"version": 1, "kernels": {identity(launch()): entry}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_launch_reaches_the_driver_as_it_was_planned(folder):
    driver = Driver()
    kernels = Cubins(folder, 90, driver)
    assert kernels.ops() == {"gate_residual"}
    assert kernels.has([launch(), launch(tokens=5)])
    kernels.run([launch(), launch(tokens=5)], stream=77)
    assert driver.named("cuModuleLoadData") == [[CODE]]  # once for both
    assert driver.named("cuModuleGetFunction") == [["cuModuleLoadData result", b"gate"]]
    assert driver.named("cuFuncSetAttribute") == [["cuModuleGetFunction result", "most shared", 65536]]
    first, second = driver.named("cuLaunchKernel")
    pointer = ctypes.c_void_p
    types_ = (pointer, pointer, ctypes.c_int32, ctypes.c_int32, ctypes.c_float, pointer, pointer)
    assert first[:9] == ["cuModuleGetFunction result", 6, 2, 1, 256, 1, 1, 65536, 77]
    assert first[9] == ((4096, 8192, 3, 32, 0.5, 0, 0), types_)
    assert second[9][0] == (4096, 8192, 5, 32, 0.5, 0, 0)
    kernels.close()
    assert driver.named("cuModuleUnload") == [["cuModuleLoadData result"]]


def test_what_was_not_compiled_is_not_there(folder):
    assert not Cubins(folder, 80, Driver()).has([launch()])  # another architecture
    assert Cubins(folder, 80, Driver()).ops() == set()
    kernels = Cubins(folder, 90, Driver())
    for name, value in (("warps", 4), ("constants", {"WIDTH": 128})):
        other = {field: getattr(launch(), field) for field in Launch.__slots__} | {name: value}
        assert not kernels.has([Launch(**other)]), name
    halves = launch()
    halves.tensors["x"].dtype = "torch.float32"
    assert not kernels.has([halves])


def test_what_is_not_aligned_as_promised_is_not_run(folder):
    kernels = Cubins(folder, 90, Driver())
    assert not kernels.has([launch(gate_stride=8)])
    odd = launch()
    odd.tensors["x"].address += 8
    assert not kernels.has([odd])


def test_a_number_that_does_not_fit_is_refused(folder):
    with pytest.raises(BackendError, match=r"tokens=2147483648 does not fit the 32 bits"):
        Cubins(folder, 90, Driver()).run([launch(tokens=2**31)], 0)


@pytest.mark.parametrize("step", ["cuModuleLoadData", "cuModuleGetFunction", "cuFuncSetAttribute", "cuLaunchKernel"])
def test_errors_of_the_driver_are_told(folder, step):
    with pytest.raises(BackendError, match="failed with driver error 700"):
        Cubins(folder, 90, Driver(fails=step)).run([launch()], 0)


def test_damaged_folders_are_refused(folder, tmp_path_factory):
    (folder / "kernel.cubin").write_bytes(CODE + b"!")
    with pytest.raises(ArtefactError, match=r"kernel\.cubin: its hash is not the manifest's"):
        Cubins(folder, 90, Driver()).run([launch()], 0)
    (folder / "manifest.json").write_text('{"version": 2}')
    with pytest.raises(ArtefactError, match="version 2, this engine reads 1"):
        Cubins(folder, 90, Driver())
    with pytest.raises(ArtefactError, match="no manifest of compiled kernels"):
        Cubins(tmp_path_factory.mktemp("empty"), 90, Driver())


@pytest.mark.parametrize(
    ("capability", "arch"),
    [((8, 0), 80), ((8, 9), 80), ((9, 0), 90), ((10, 0), 100), ((10, 3), 0), ((12, 0), 0), ((7, 5), 0)],
)
def test_which_cubins_a_device_runs(capability, arch):
    assert built_for(capability) == arch
