"""What a row of a single op says beside its time: rates, the roof that binds it, its share of an image."""

import dataclasses

import pytest
from spar_bench.harness import record
from spar_bench.harness.measure import LocalPlayer, measure
from spar_bench.harness.policy import Policy
from spar_bench.harness.synthetic import Scale, ScaleOracle
from spar_bench.kernels import run
from spar_bench.kernels.case import Shape, Work, case
from spar_bench.machine.roofs import Roofs

PEAKS = {"f32": ("avx512", 1e11), "bf16": ("avx512_bf16", 2e11), "int8": ("avx512_vnni", 4e11)}
MACHINE = {
    "peaks": [
        {"isa": isa, "dtype": dtype, "threads": 1, "operations_per_s": rate} for dtype, (isa, rate) in PEAKS.items()
    ],
    "streams": [
        {"level": "L2", "pass": "read", "threads": 1, "bytes": 1 << 19, "bytes_per_s": 1e11},
        {"level": "DRAM", "pass": "read", "threads": 1, "bytes": 1 << 28, "bytes_per_s": 1e10},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    """Something that was earned; its median is set by the tests."""
    oracle = ScaleOracle()
    policy = Policy(least_turns=4, seconds=0.3)
    return measure([LocalPlayer("a", Scale(oracle), oracle)], policy, accept_noise=True)["a"]


def added(measured, work, seconds, cold=False):
    """The result file after a row of `work` that took `seconds`."""
    summary = dataclasses.replace(measured.summary, median=seconds * 1e9)
    result = record.new_file("kernels", "spar-bench kernels", None)
    took = dataclasses.replace(measured, summary=summary)
    run._add(result, run.Group(work, 1, cold), "native-avx512", took, Roofs(MACHINE))
    return result


@pytest.mark.parametrize(
    ("sizes", "dtype", "roof"),
    [
        ((512, 1152, 1152, 0), "f32", "avx512 peak"),
        ((512, 1152, 1152, 0), "bf16", "avx512_bf16 peak"),
        ((512, 1152, 1152, 0), "int8", "avx512_vnni peak"),
        ((1, 896, 4864, 0), "int4", "DRAM read"),
        ((1, 64, 96, 0), "int4", "L2 read"),
    ],
)
def test_a_row_names_the_roof_that_binds_it(measured, monkeypatch, sizes, dtype, roof):
    monkeypatch.setattr(run, "image_seconds", lambda *what: {("spar-1b", run.PRECISION[dtype], 1): 30.0}[what])
    work = Work(case("packed_product"), Shape("spar-1b", sizes, 1660), dtype)
    operations, moved = 2.0 * sizes[0] * sizes[1] * sizes[2], work.bytes()
    least = max(operations / PEAKS["int8" if dtype == "int4" else dtype][1],
                moved / (1e11 if moved <= 1 << 20 else 1e10))  # fmt: skip
    result = added(measured, work, 2 * least)
    (row,) = result["rows"]
    assert row["id"] == f"kernels/packed_product/{'x'.join(map(str, sizes))}/{dtype}/native-avx512/t1/hot"
    assert row["roof"]["name"] == roof
    assert row["roof"]["share"] == pytest.approx(0.5)
    assert row["work"]["flops_per_s"] == pytest.approx(operations / (2 * least))
    assert row["work"]["bytes_per_s"] == pytest.approx(moved / (2 * least))
    assert row["work"]["intensity"] == pytest.approx(operations / moved)
    assert row["image"] == pytest.approx({"calls": 1660, "seconds": 3320 * least, "share": 3320 * least / 30})
    pytest.importorskip("jsonschema")
    record.validate(result)


def test_a_row_beyond_its_roof_is_refused(measured):
    work = Work(case("rms_norm"), Shape("spar-1b", (288, 896)), "bf16")
    least = work.bytes() / 1e10
    assert not added(measured, work, 0.9 * least, cold=True)["refused"]
    (refused,) = added(measured, work, 0.8 * least, cold=True)["refused"]
    assert "1.25 of the roof DRAM read: faster than this machine can be" in refused["reason"]
