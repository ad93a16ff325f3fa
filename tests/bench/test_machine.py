"""Roofs: probes that compute what they claim, second opinions, the roof that binds a row, the cache."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from spar_bench.cli import main
from spar_bench.harness.host import Load
from spar_bench.machine import independent, native, store
from spar_bench.machine.roofs import Roofs
from spar_engine.errors import ArtefactError, InputError

RECORD = {
    "fingerprint": "f", "clock_ghz": 3.0, "gpu": None, "checks": [], "disturbed": [],
    "peaks": [
        {"isa": "avx512", "dtype": "f32", "threads": 1, "operations_per_s": 2e11, "typical": 2e11},
        {"isa": "avx512_bf16", "dtype": "bf16", "threads": 1, "operations_per_s": 4e11, "typical": 4e11},
        {"isa": "avx512_vnni", "dtype": "int8", "threads": 1, "operations_per_s": 8e11, "typical": 8e11},
    ],
    "streams": [
        {"level": level, "pass": name, "threads": 1, "bytes": size, "bytes_per_s": rate, "typical": rate}
        for level, size, rate in (("L1", 24 << 10, 4e11), ("L2", 512 << 10, 2e11), ("L3", 16 << 20, 1e11),
                                  ("DRAM", 256 << 20, 3e10))
        for name in ("read", "copy")
    ],
}  # fmt: skip


@pytest.fixture
def roofs():
    return Roofs(RECORD)


def test_the_binding_roof_is_the_slower_one(roofs):
    computing = roofs.roof(1e9, 1e3, "f32", 1, cold=False)
    assert (computing.name, computing.seconds) == ("avx512 peak", 1e9 / 2e11)
    moving = roofs.roof(1e3, 1e9, "f32", 1, cold=False)
    assert moving.name == "DRAM read"
    assert moving.seconds == 1e9 / 3e10


def test_low_precisions_may_use_wider_arithmetic(roofs):
    assert roofs.peak("bf16", 1)[0] == "avx512_bf16"
    assert roofs.peak("int8", 1)[0] == "avx512_vnni"
    slow = json.loads(json.dumps(RECORD))
    slow["peaks"][1]["operations_per_s"] = 1e11  # bf16 dot products slower than float32, as on some processors
    assert Roofs(slow).peak("bf16", 1)[0] == "avx512"


@pytest.mark.parametrize(
    ("size", "cold", "level"),
    [(30 << 10, False, "L1"), (900 << 10, False, "L2"), (20 << 20, False, "L3"), (40 << 20, False, "DRAM"),
     (30 << 10, True, "DRAM")],
)  # fmt: skip
def test_hot_data_comes_from_the_level_that_holds_it(roofs, size, cold, level):
    assert roofs.bandwidth(size, 1, cold)[0].startswith(level)


def test_share_is_least_time_over_measured_time(roofs):
    share = roofs.share(2e8, 1e3, "f32", 1, cold=False, seconds=2e-3)
    assert share == {"name": "avx512 peak", "seconds": 1e-3, "share": 0.5}


def test_unknown_dtypes_and_thread_counts_say_what_to_do(roofs):
    with pytest.raises(InputError, match="dtype='f8' is unknown"):
        roofs.peak("f8", 1)
    with pytest.raises(InputError, match="for 7 threads; run spar-bench machine --again"):
        roofs.roof(1, 1, "f32", 7, cold=False)


@pytest.mark.parametrize(
    ("ours", "theirs", "floor", "agrees"),
    [(100, 100, False, True), (100, 86, False, True), (100, 80, False, False), (100, 120, False, False),
     (100, 20, True, True), (100, 120, True, False)],
)  # fmt: skip
def test_second_opinions_agree_within_15_percent(ours, theirs, floor, agrees):
    assert independent.compare("x", ours, theirs, floor=floor)["agrees"] == agrees


def test_disturbances_are_named():
    peak = RECORD["peaks"][0] | {"typical": 1e11}
    check = independent.compare("copy against numpy", 100, 50)
    found = store.disturbances(Load(wall=10, foreign=5, steal=1), [peak], RECORD["streams"], [check])
    assert [text.split(" ")[0] for text in found] == ["others", "the", "avx512", "copy"]
    assert store.disturbances(Load(wall=10), RECORD["peaks"], RECORD["streams"], []) == []


def test_every_instruction_set_has_a_peak_and_a_second_opinion():
    from spar_engine import _native

    probes = native.roofs_module().peaks()
    ours = {probe["isa"] for probe in probes if not probe["independent"]}
    theirs = {probe["isa"] for probe in probes if probe["independent"]}
    assert ours == set(_native.isas())
    assert theirs == ours - {"scalar"}


def test_probes_compute_and_scale_with_their_work():
    """The native side checks its registers after every run; here only that more work takes longer."""
    module = native.roofs_module()
    for index in range(len(module.peaks())):
        # Best of many in turn: on a busy machine most of them are disturbed, and all of one stretch may be.
        short = long = math.inf
        for _ in range(200):
            short = min(short, module.time_peak(index, 100_000, 1))
            long = min(long, module.time_peak(index, 800_000, 1))
            if 5 < long / short < 12:
                break
        assert 3 < long / short < 20
    assert module.time_stream("read", 1 << 20, 2, 1) > 0
    assert module.time_sweep(1 << 20) > 0


def test_a_vector_peak_is_no_more_than_four_units_and_no_compiler_shortened_it():
    """A loop that the compiler folded would be many times what the clock allows."""
    clock = native.clock_ghz(3)
    if clock is None:
        pytest.skip("the clock cannot be told on this processor")
    module, lanes = native.roofs_module(), {"scalar": 4, "avx2": 8, "avx512": 16}
    for index, probe in enumerate(module.peaks()):
        if probe["isa"] in lanes and probe["dtype"] == "f32":
            [rate] = native.take_turns([native.peak(index, probe["operations"], 1, {})], 3)
            assert rate.best < 4.5 * 2 * lanes[probe["isa"]] * max(clock, 2.0) * 1e9


def test_a_bad_stretch_of_the_host_spoils_no_single_probe():
    """Forty runs in a row at half speed, as when two virtual processors share one core, anywhere in the measurement."""
    for start in range(0, 150, 7):
        clock = iter(range(1000))

        def seconds(clock=clock, start=start):
            return 2.0 if start <= next(clock) < start + 40 else 1.0

        rates = native.take_turns([native.Probe({}, 8.0, seconds) for _ in range(5)], 25)
        assert [rate.best for rate in rates] == [8.0] * 5
        assert all(rate.steady for rate in rates)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda module: module.time_peak(999, 10, 1), "peak 999 is unknown"),
        (lambda module: module.time_peak(0, 0, 1), "iterations=0 must be at least 1"),
        (lambda module: module.time_peak(0, 10, 10_000), "threads=10000 must be from 1 to"),
        (lambda module: module.time_stream("write", 1 << 20, 1, 1), "pass 'write' is unknown"),
        (lambda module: module.time_stream("read", 100, 1, 1), "needs at least 1024 bytes"),
    ],
)
def test_probes_refuse_what_they_cannot_do(call, says):
    with pytest.raises(InputError, match=says):
        call(native.roofs_module())


def test_eviction_makes_a_warm_buffer_cold():
    from spar_bench.harness.flush import evict

    module = native.roofs_module()
    values = np.ones(16 << 10)

    def summing():
        import time

        start = time.perf_counter()
        values.sum()
        return time.perf_counter() - start

    for _ in range(5):
        summing()
    warm = min(summing() for _ in range(20))
    cold = []
    for _ in range(10):
        evict()
        cold.append(summing())
    assert min(cold) > 1.1 * warm
    assert module is not None


def test_capped_instruction_sets_cap_the_roofs():
    program = "from spar_bench.machine.native import roofs_module; print({p['isa'] for p in roofs_module().peaks()})"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"SPAR_ISA": "scalar"}, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "{'scalar'}"


def test_the_record_is_kept_under_the_fingerprint(monkeypatch, tmp_path):
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path))
    assert store.load_machine() is None
    mine = RECORD | {"fingerprint": store.fingerprint()}
    store.save_machine(mine)
    assert store.load_machine() == mine
    monkeypatch.setenv("SPAR_ISA", "scalar")  # another machine, as far as kernels are concerned
    assert store.load_machine() is None
    monkeypatch.delenv("SPAR_ISA")
    store.cached_path().write_text("{")
    with pytest.raises(ArtefactError, match=r"is damaged .*spar-bench machine --again"):
        store.load_machine()


def test_a_doubtful_record_is_not_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path))
    doubtful = RECORD | {"fingerprint": store.fingerprint(), "disturbed": ["others used 1.00 CPUs"]}
    monkeypatch.setattr(store, "measure_machine", lambda runs: doubtful)
    assert main(["machine"]) == 1
    assert "disturbed: others used 1.00 CPUs" in capsys.readouterr().err
    assert store.load_machine() is None
    assert main(["machine", "--accept-noise", "--json", str(tmp_path / "m.json")]) == 0
    assert store.load_machine() == doubtful
    assert json.loads((tmp_path / "m.json").read_text())["machine"] == doubtful
