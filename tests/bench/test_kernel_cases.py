"""Every op of the engine is measured by construction, in every variant, at the sizes of every preset."""

import argparse
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from spar_bench.kernels import case as cases_module
from spar_bench.kernels.case import Shape, Work, called, case, cases, models, ops, widen
from spar_bench.kernels.oracle import WorkOracle
from spar_bench.kernels.relu_linear_attention import linear_form
from spar_bench.kernels.run import PRECISION, Group, groups, subjects
from spar_bench.kernels.subjects import CALLED, NATIVE, NativeKernel, OurVariant, PeerKernel
from spar_bench.peers.base import peer
from spar_engine import _native
from spar_engine.errors import InputError
from spar_engine.oracle import relu_linear_attention as rla_oracle

CSRC = Path(__file__).parents[2] / "csrc"
SMALL = {
    "relu_linear_attention": [(2, 3, 50, 32)],
    "dynamic_token_routing": [(4, 30, 64)],
    "packed_product": [(37, 96, 136, 0), (5, 64, 72, 1), (40, 128, 96, 2), (1, 96, 160, 0)],
    "convolution": [(1, 7, 9, 16, 40)],
    "rms_norm": [(19, 200), (1, 33)],
    "layer_norm_modulate": [(2, 19, 200)],
    "attention": [(70, 4, 2, 16, 1), (45, 3, 3, 24, 0)],
    "cross_attention": [(2, 3, 3, 21, 50, 24), (1, 6, 2, 1, 77, 16)],
    "depthwise_glu": [(2, 6, 7, 24)],
}
ROWS = [(op, sizes, dtype) for op in ops() for sizes in SMALL[op] for dtype in case(op).dtypes]


def kernel_table():
    """Entries of the native backend's table of kernels."""
    header = (CSRC / "cpu/core/kernels.h").read_text()
    return set(re.findall(r"^  \w+\* (\w+);", header.split("struct Kernels {")[1].split("};")[0], re.MULTILINE))


def test_every_op_with_variants_has_a_case():
    assert {"dynamic_token_routing", "relu_linear_attention"} <= set(called())
    assert set(ops()) == {*called(), *_native.prepared_ops()}
    for op in ops():
        assert case(op).op == op
        assert case(op).all_shapes()


def test_an_op_without_a_case_is_an_error(monkeypatch):
    monkeypatch.setattr(cases_module, "ops", lambda: ["new_op"])
    with pytest.raises(InputError, match=r"new_op.*write bench/kernels/new_op.py"):
        cases()


def test_a_prepared_op_without_a_case_is_an_error(monkeypatch):
    registered = [*_native.prepared_ops(), "new_op"]
    monkeypatch.setattr(_native, "prepared_ops", lambda: registered)
    with pytest.raises(InputError, match=r"new_op.*write bench/kernels/new_op.py"):
        cases()


def test_every_kernel_of_the_native_backend_is_measured():
    """A new entry of the table needs an op that runs it, and an op of the table is one that `Prepared` knows."""
    assert len(kernel_table()) > 5
    assert {kernel for each in cases().values() for kernel in each.kernels} == kernel_table()
    assert {op for op, each in cases().items() if each.kernels} == set(_native.prepared_ops())


def test_every_op_that_is_compiled_has_a_case():
    """A folder of the C++ side holds the variants of one op; its scalar one is always there."""
    compiled = {path.parent.name for path in CSRC.glob("cpu/*/scalar.cpp")}
    assert compiled == set(called())
    headers = {
        path.stem for path in (CSRC / "include/engine").glob("*.h") if f"{path.stem}_variants()" in path.read_text()
    }
    assert headers == compiled


def test_every_op_of_a_gpu_is_checked_there():
    pytest.importorskip("torch")
    from spar_bench.gpu_check.ops import OPS

    cuda = {path.parent.name for path in CSRC.glob("cuda/*/sm80.cu")}
    triton = {path.stem for path in (CSRC.parent / "engine/ops/triton").glob("*.py")} - {"__init__", "run"}
    assert cuda | triton <= set(OPS)


def arguments(**changed):
    given = {"op": None, "shape": None, "dtype": None, "variant": None, "peers": "none", "cache": "hot", "threads": "1"}
    return argparse.Namespace(**given | changed)


@pytest.mark.parametrize("op", ops())
def test_every_registered_variant_is_measured(op):
    each = case(op)
    registered = [CALLED + variant for variant in each.variants()] + [NATIVE + isa for isa in each.isas()]
    assert registered
    assert set(each.isas()) <= set(_native.native_isas())
    for group in groups(arguments(op=op)):
        assert subjects(group, arguments()) == registered


def test_every_model_is_covered():
    seen = {shape.preset for each in cases().values() for shape in each.all_shapes()}
    # unilip models have no router and share their DiT's shapes with the spar of the same size
    assert {config.name for config in models() if config.name.startswith("spar")} <= seen
    assert {"spar-1b", "spar-3b", "spar-nano", "large"} <= seen


def test_places_of_one_model_with_one_size_add_up():
    """Keys and queries of a narrow model may have the size of its outputs: both count in an image."""
    twice = [Shape("spar-1b", (1, 2), 3), Shape("spar-1b", (1, 2), 4)]
    each = dataclasses.replace(case("rms_norm"), shapes=lambda config: twice if config.name == "spar-1b" else [])
    assert each.all_shapes() == [Shape("spar-1b", (1, 2), 7)]


@pytest.mark.parametrize("op", ops())
def test_counts_are_sane(op):
    for shape in case(op).all_shapes():
        if np.prod(np.maximum(shape.sizes, 1)) > 1e6:
            continue
        work = Work(case(op), shape, "f32")
        half = Work(case(op), shape, "bf16")
        assert 0 < half.bytes() < work.bytes() < 2.1 * half.bytes()
        assert work.flops() > work.bytes() / 4


def test_narrow_weights_are_counted_as_they_are_stored():
    shape = Shape("test", (1, 512, 1024, 0))
    whole, half, eight, four = (
        Work(case("packed_product"), shape, dtype).bytes() for dtype in ("f32", "bf16", "int8", "int4")
    )
    weights, rest = 512 * 1024, 2 * 1024 + 2 * 512 + 4 * 512  # activations in, out, and the bias
    assert (whole, half) == (4 * weights + 4 * (1024 + 512 + 512), 2 * weights + rest)
    assert (eight, four) == (weights + rest, weights // 2 + weights // 32 * 2 + rest)


def test_four_bits_are_for_few_rows():
    asked = {shape.sizes[0]: shape.dtypes for shape in case("packed_product").all_shapes()}
    assert "int4" in asked[1]
    assert all("int4" not in dtypes for rows, dtypes in asked.items() if rows > 16)
    assert {group.work.dtype for group in groups(arguments(op="packed_product", shape="512x3456x1152x0"))} == {
        "f32", "bf16", "int8"}  # fmt: skip


@pytest.mark.parametrize(("op", "sizes", "dtype"), ROWS)
def test_every_variant_passes_its_check(op, sizes, dtype, tmp_path):
    """Of the AMX kernels those over tiles in memory, which every machine runs."""
    work = Work(case(op), Shape("test", sizes), dtype)
    oracle = WorkOracle(work, tmp_path, ours=True)
    made = [OurVariant(work, variant, (0, 1)) for variant in work.case.variants()]
    isas = work.case.isas() and [*work.case.isas(), "emulated_amx"]
    for subject in (*made, *(NativeKernel(work, isa, 1, (0, 1)) for isa in isas)):
        for slot, seed in ((0, 0), (0, 1), (subject.slots - 1, 0)):
            subject.fill(slot, seed)
            subject.poison(slot)
            subject.run(slot)
            assert oracle.errors(subject.outputs(slot), seed)["out"].share <= 1


PEERS = [(name, op, sizes[0]) for name in ("torch-eager", "onnxruntime", "openvino") for op, sizes in SMALL.items()]


@pytest.mark.parametrize(("name", "op", "sizes"), PEERS)
def test_peers_do_the_same_work(name, op, sizes, tmp_path):
    chosen = peer(name)
    if missing := chosen.missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    dtypes = [dtype for dtype in case(op).dtypes if PRECISION[dtype] in chosen.precisions]
    assert "f32" in dtypes
    for dtype in dtypes:
        work = Work(case(op), Shape("test", sizes), dtype)
        oracle, subject = WorkOracle(work, tmp_path, ours=False), PeerKernel(work, name, 1, (0, 1))
        for seed in (0, 1):
            subject.fill(0, seed)
            subject.run(0)
            assert oracle.errors(subject.outputs(0), seed)["out"].share <= 1


def test_references_are_shared_through_the_folder(tmp_path):
    work = Work(case("relu_linear_attention"), Shape("test", (1, 1, 8, 32)), "f32")
    first = WorkOracle(work, tmp_path, ours=True).expected(0)["out"]
    assert len(list(tmp_path.glob("*.npz"))) == 1
    np.testing.assert_array_equal(first, WorkOracle(work, tmp_path, ours=False).expected(0)["out"])


def test_bf16_inputs_are_the_rounded_ones():
    work = Work(case("dynamic_token_routing"), Shape("test", SMALL["dynamic_token_routing"][0]), "bf16")
    stored, wide = work.inputs(0), work.wide(0)
    assert stored["levels"].dtype == np.uint16
    assert stored["b1"].dtype == np.float32
    np.testing.assert_array_equal(widen(stored["levels"]), wide["levels"])
    assert not np.array_equal(work.inputs(1)["levels"], stored["levels"])
    np.testing.assert_array_equal(work.inputs(1)["w1"], stored["w1"])


def test_both_forms_of_linear_attention_agree():
    inputs = rla_oracle.random_inputs(np.random.default_rng(0), 1, 2, 60, 32)
    np.testing.assert_allclose(linear_form(**inputs), rla_oracle.relu_linear_attention(**inputs), rtol=1e-12)


def test_selection():
    by_size = groups(arguments(op="relu_linear_attention", shape="2x36x256x32", dtype="bf16", cache="hot,cold"))
    assert [(group.work.dtype, group.cold) for group in by_size] == [("bf16", False), ("bf16", True)]
    assert by_size[0].identity("ours-avx2") == "kernels/relu_linear_attention/2x36x256x32/bf16/ours-avx2/t1/hot"
    assert all(group.work.shape.preset == "spar-3b" for group in groups(arguments(shape="spar-3b")))
    only = arguments(variant="ours-scalar")
    assert subjects(by_size[0], only) == ["ours-scalar"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"op": "softmax"}, "op 'softmax' is unknown; the engine has"),
        ({"shape": "spar-9b"}, "no row has --shape spar-9b"),
        ({"cache": "warm"}, "'warm' is unknown; use hot, cold"),
        ({"threads": "0"}, "'0' must be from 1 to"),
        ({"threads": "many"}, "'many' must be from 1 to"),
    ],
)
def test_wrong_selections_say_what_there_is(changed, says):
    with pytest.raises(InputError, match=says):
        groups(arguments(**changed))


def test_repro_lines_select_exactly_their_row():
    group = groups(arguments(op="relu_linear_attention", shape="spar-1b", dtype="f32"))[0]
    words = group.repro("ours-scalar").split()[2:]
    from spar_bench.cli import parser

    parsed = parser().parse_args(["kernels", *words])
    again = groups(parsed)
    assert [each.identity(name) for each in again for name in subjects(each, parsed)] == [group.identity("ours-scalar")]
    assert isinstance(again[0], Group)
