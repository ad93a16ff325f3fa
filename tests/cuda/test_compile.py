"""The compile matrix: one target of it where there is an nvcc, and what was recorded of all of them."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

from .building import ROOT
from .runners import OPS

REPORT = ROOT / "bench/results/cuda/resources.json"


def script(name: str):
    """A module of csrc/cuda, whose scripts import one another."""
    folder = ROOT / "csrc/cuda"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(f"cuda_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.fixture(scope="module")
def matrix():
    return script("check")


@pytest.fixture(scope="module")
def whole():
    return script("whole")


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads(REPORT.read_text("utf-8"))["ops"]


def test_one_target_compiles_and_is_what_was_recorded(matrix, recorded):
    nvcc = matrix.find_nvcc()
    if nvcc is None:
        pytest.skip(f"there is no nvcc; {matrix.REMEDY}")
    found = matrix.check(nvcc, ("sm_90a",), ptx=False)
    assert matrix.spilling(found) == []
    assert {op: set(kernels) for op, kernels in found.items()} == {op: set(recorded[op]) for op in recorded}, (
        "bench/results/cuda/resources.json is of other kernels; make cuda-check"
    )


def test_the_record_has_every_op_and_target(matrix, recorded):
    assert set(recorded) == set(OPS)
    for kernels in recorded.values():
        assert kernels
        for targets in kernels.values():
            assert set(targets) == set(matrix.TARGETS)


def test_every_op_has_a_hot_kernel_and_none_spills(matrix, recorded):
    for op, kernels in recorded.items():
        assert any(matrix.HOT.search(f"{kernel}(") for kernel in kernels), op
    assert matrix.spilling(recorded) == []


def test_a_spill_is_found(matrix, recorded):
    kernel = next(iter(recorded["glumbconv_core"]))
    spilled = {"glumbconv_core": {kernel: {"sm_80": {"spill_bytes": 4}}}}
    assert matrix.spilling(spilled) == [f"glumbconv_core: {kernel} spills 4 bytes on sm_80"]


def test_router_mix_and_projection_use_tensor_cores(whole, matrix, tmp_path):
    """Both kernels of the routing, and there are no others: two launches (tests/cuda/test_kernels.py counts them)."""
    nvcc = matrix.find_nvcc()
    if nvcc is None:
        pytest.skip(f"there is no nvcc; {matrix.REMEDY}")
    made = tmp_path / "out.ptx"
    source = matrix.CUDA / "dynamic_token_routing" / "sm80.cu"
    whole.run(nvcc, *matrix.FLAGS, f"-arch={matrix.PTX}", "-ptx", "-o", made, source)
    kernels = made.read_text("utf-8").split(".entry ")[1:]
    names = [kernel.partition("(")[0] for kernel in kernels]
    assert any("route" in name for name in names)
    assert any("mix" in name for name in names)
    assert all("mma.sync.aligned.m16n8k16" in kernel for kernel in kernels)


def test_the_whole_module_is_for_the_targets_of_the_record(whole, matrix):
    targets = {f"{target.removeprefix('sm_')}-real" for target in matrix.TARGETS}
    assert set(whole.TARGETS.split(";")) == targets | {f"{matrix.PTX.removeprefix('compute_')}-virtual"}
    lists = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert f"set(SPAR_CUDA_ARCHITECTURES {whole.TARGETS.replace(';', ' ')} CACHE" in lists


def test_targets_are_read_from_a_compiled_file(whole, matrix, tmp_path):
    nvcc = matrix.find_nvcc()
    if nvcc is None:
        pytest.skip(f"there is no nvcc; {matrix.REMEDY}")
    source, made = tmp_path / "one.cu", tmp_path / "one.o"
    source.write_text("__global__ void one(int* x) { *x = 1; }")
    codes = ("arch=compute_80,code=sm_80", "arch=compute_90a,code=sm_90a", "arch=compute_89,code=compute_89")
    whole.run(nvcc, "-c", source, "-o", made, *(f"-gencode={code}" for code in codes))
    assert whole.inside(made) == {"80", "90", "89-virtual"}
