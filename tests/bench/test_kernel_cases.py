"""Every op of the engine is measured by construction, in every variant, at the sizes of every preset."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from spar_bench.kernels import case as cases_module
from spar_bench.kernels.case import Shape, Work, case, cases, ops, widen
from spar_bench.kernels.oracle import WorkOracle
from spar_bench.kernels.relu_linear_attention import linear_form
from spar_bench.kernels.run import Group, groups, subjects
from spar_bench.kernels.subjects import NATIVE, OurVariant
from spar_engine.config import presets
from spar_engine.errors import InputError
from spar_engine.oracle import relu_linear_attention as rla_oracle

CSRC = Path(__file__).parents[2] / "csrc"
SMALL = {"relu_linear_attention": (2, 3, 50, 32), "dynamic_token_routing": (4, 30, 64)}


def test_every_op_with_variants_has_a_case():
    assert {"dynamic_token_routing", "relu_linear_attention"} <= set(ops())
    for op in ops():
        assert case(op).op == op
        assert case(op).all_shapes()


def test_an_op_without_a_case_is_an_error(monkeypatch):
    monkeypatch.setattr(cases_module, "ops", lambda: ["new_op"])
    with pytest.raises(InputError, match=r"new_op.*write bench/kernels/new_op.py"):
        cases()


def test_every_op_that_is_compiled_has_a_case():
    """A folder of the C++ side holds the variants of one op; its scalar one is always there."""
    compiled = {path.parent.name for path in CSRC.glob("cpu/*/scalar.cpp")}
    assert compiled == set(ops())
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
    registered = case(op).variants()
    assert registered
    for group in groups(arguments(op=op)):
        assert subjects(group, arguments()) == [NATIVE + variant for variant in registered]


def test_every_preset_is_covered():
    seen = {shape.preset for each in cases().values() for shape in each.all_shapes()}
    # unilip models have no router and share their DiT's shapes with the spar of the same size
    assert {name for name in presets() if name.startswith("spar")} <= seen
    assert "large" in seen


@pytest.mark.parametrize("op", ops())
def test_counts_are_sane(op):
    for shape in case(op).all_shapes():
        if np.prod(shape.sizes) > 1e6:
            continue
        work = Work(case(op), shape, "f32")
        half = Work(case(op), shape, "bf16")
        assert 0 < half.bytes() < work.bytes() < 2.1 * half.bytes()
        assert work.flops() > work.bytes() / 4


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("op", ops())
def test_every_variant_passes_its_check(op, dtype, tmp_path):
    work = Work(case(op), Shape("test", SMALL[op]), dtype)
    oracle = WorkOracle(work, tmp_path, ours=True)
    for variant in case(op).variants():
        subject = OurVariant(work, variant, (0, 1))
        for seed in (0, 1):
            subject.fill(0, seed)
            subject.poison(0)
            subject.run(0)
            assert oracle.errors(subject.outputs(0), seed)["out"].share <= 1


def test_references_are_shared_through_the_folder(tmp_path):
    work = Work(case("relu_linear_attention"), Shape("test", (1, 1, 8, 32)), "f32")
    first = WorkOracle(work, tmp_path, ours=True).expected(0)["out"]
    assert len(list(tmp_path.glob("*.npz"))) == 1
    np.testing.assert_array_equal(first, WorkOracle(work, tmp_path, ours=False).expected(0)["out"])


def test_bf16_inputs_are_the_rounded_ones():
    work = Work(case("dynamic_token_routing"), Shape("test", SMALL["dynamic_token_routing"]), "bf16")
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
