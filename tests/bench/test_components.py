"""Components: every one is measured, checked against float64, and counted; what travels stays the backend's own."""

import argparse

import numpy as np
import pytest
from spar_bench.components import reference
from spar_bench.components.oracle import ComponentOracle
from spar_bench.components.run import Group, groups, moved_bytes
from spar_bench.components.subjects import AHEAD, ComponentSubject, DecodeSubject, open_subject
from spar_bench.components.works import inputs_of, travelling, work_named, works
from spar_bench.harness.subject import BenchError
from spar_bench.harness.verify import check_inputs, verify
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.errors import InputError

TINY = "spar-tiny-random"
CONFIG = preset(TINY)
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def made():
    """made(work, subject) -> what a worker would open."""
    found = {}

    def make(name, subject, **sizes):
        key = name, tuple(sizes.items())
        if key not in found:
            found[key] = reference.prepare(TINY, True, name, sizes, SEEDS)
        spec = {"source": TINY, "random": True, "work": name, "sizes": sizes, "subject": subject, "threads": 1,
                "reference": found[key]["path"], "seeds": SEEDS}  # fmt: skip
        return open_subject(spec)

    return make


def test_every_component_is_measured():
    measured = {work.component for work in works(CONFIG).values()}
    assert measured == set(components(CONFIG))


@pytest.mark.parametrize("name", works(CONFIG))
def test_inputs_fit_the_component(name):
    work = works(CONFIG)[name]
    inputs, earlier = inputs_of(CONFIG, work, 0)
    spec = components(CONFIG)[work.component]
    made = spec.example(np.random.default_rng(0), **work.sizes)
    missing = {key for key in made if key.startswith(("past_", "cross_"))} if work.before else set()
    assert inputs.keys() == made.keys() - missing
    if work.before:
        components(CONFIG)[work.before].check(earlier)
    else:
        spec.check(inputs)


@pytest.mark.parametrize("name", works(CONFIG))
def test_the_native_backend_earns_every_row(name, made):
    opened = made(name, "native-fp32")
    check = verify(name, opened.subject, opened.oracle)
    assert check.worst().share <= 1
    opened.subject.close()


@pytest.mark.parametrize("subject", ["torch-eager-bf16", "native-bf16", "native-int8"])
def test_a_step_in_low_precision_is_held_against_torch(subject, made):
    opened = made("dit", subject)
    check = verify("dit", opened.subject, opened.oracle)
    assert 0 < check.worst().share <= 1
    assert check.worst().rel_l2 > 1e-4
    opened.subject.close()


def test_a_token_in_four_bits_is_near_enough(made):
    opened = made("decode", "native-int4")
    check = verify("decode", opened.subject, opened.oracle)
    assert 0 < check.worst().share <= 1
    assert check.worst().rel_l2 > 1e-2
    opened.subject.close()


def test_bytes_that_a_precision_moves():
    counts = {"parameters": 3200.0, "travels": 10.0}
    assert moved_bytes("fp32", "dit", counts) == 4 * 3210
    assert moved_bytes("bf16", "language", counts) == 2 * 3210
    assert moved_bytes("int8", "language", counts) == moved_bytes("int4", "dit", counts) == 3200 + 2 * 10
    assert moved_bytes("int4", "language", counts) == 3200 / 2 + 3200 / 32 * 2 + 2 * 10


def test_a_wrong_element_is_caught(made):
    opened = made("decoder", "native-bf16")
    honest = opened.subject.backend.run

    def spoiled(component, inputs):
        out = honest(component, inputs)
        flat = np.array(out["image"])
        flat[0, 1, 2, 3] += 0.5 * np.abs(flat).max()
        return {"image": flat}

    opened.subject.backend.run = spoiled
    with pytest.raises(BenchError, match=r"output `image` is wrong on its first call.*the worst is at \(0, 1, 2, 3\)"):
        verify("decoder", opened.subject, opened.oracle)


def test_kept_results_are_caught(made):
    opened = made("streams", "native-fp32")
    kept = {}
    honest = opened.subject.backend.run
    opened.subject.backend.run = lambda component, inputs: kept.setdefault(component, honest(component, inputs))
    with pytest.raises(BenchError, match="when its inputs change in place"):
        verify("streams", opened.subject, opened.oracle)


def test_references_tell_their_seeds_apart(made):
    for name in ("modulation", "lm_head", "condition"):
        check_inputs(name, made(name, "native-fp32").oracle)


def test_a_missing_output_is_an_error(made):
    oracle = made("vision", "native-fp32").oracle
    assert isinstance(oracle, ComponentOracle)
    with pytest.raises(BenchError, match="output `features` is nothing, expected"):
        oracle.errors({}, 0)


def test_decoding_goes_on_from_the_cache_it_grew(made):
    opened = made("decode", "native-fp32", past=10)
    subject = opened.subject
    assert isinstance(subject, DecodeSubject)
    lengths = []
    run = subject.backend.run

    def noting(component, inputs):
        if inputs["inputs_embeds"].shape[1] == 1:
            lengths.append(inputs["past_keys"].shape[3])
        return run(component, inputs)

    subject.backend.run = noting
    for nudge in range(AHEAD + 2):
        subject.fill(0, 0, nudge)
        subject.run(0)
    assert lengths == [*range(10, 10 + AHEAD), 10, 11]
    subject.fill(0, 0)  # a checked call starts from a fresh cache
    subject.run(0)
    assert lengths[-1] == 10


def test_what_travels_is_made_by_the_same_backend(made):
    subject = made("dit", "torch-eager-bf16").subject
    assert isinstance(subject, ComponentSubject)
    subject.fill(0, 0)
    import torch

    assert all(isinstance(value, torch.Tensor) for value in subject.travels[0].values())
    with pytest.raises(KeyError):
        travelling(subject.work, {})


def test_counts_are_those_of_the_specification():
    config = preset("spar-1b")
    step = reference.count(config, works(config)["dit"])
    assert step["flops"] == pytest.approx(533e9, rel=0.01)
    assert step["parameters"] + step["travels"] == pytest.approx(1.08e9 / 2, rel=0.01)


def test_sizes_can_be_changed_and_wrong_ones_are_refused():
    assert work_named(CONFIG, "prefill", tokens=40).sizes["rows"] == 40
    with pytest.raises(InputError, match="size width is unknown; it has steps"):
        work_named(CONFIG, "modulation", width=3)
    with pytest.raises(InputError, match="component 'head' is unknown; there are vision"):
        work_named(CONFIG, "head")


def arguments(**changed):
    base = {"preset": TINY, "trained": False, "component": "dit", "sizes": None, "grow": None, "threads": "1"}
    return argparse.Namespace(**base | changed)


def test_growth_curves_are_rows_of_their_own():
    side = groups(arguments(grow="side=4,8"))
    assert [(group.work.sizes["height"], group.work.sizes["width"]) for group in side] == [(4, 4), (8, 8)]
    assert side[1].growth() == {"axis": "height", "value": 8}
    threads = groups(arguments(grow="threads=1,1", component="decoder"))
    assert threads[0].growth() == {"axis": "threads", "value": 1}
    assert groups(arguments())[0].growth() is None
    with pytest.raises(InputError, match="--sizes: 'tokens' is not AXIS=NUMBER"):
        groups(arguments(sizes="tokens"))


def test_repro_lines_select_their_row():
    from spar_bench.cli import parser

    group = groups(arguments(sizes="tokens=40"))[0]
    parsed = parser().parse_args(group.repro("native-bf16").split()[1:])
    again = groups(parsed)
    assert [each.identity("x") for each in again] == [group.identity("x")]
    assert isinstance(again[0], Group)


def test_counting_the_work_leaves_the_modules_as_they_were():
    from spar_engine.modules.cuts.language import ConditionCut
    from spar_engine.ops import torch_ops

    reference.count(CONFIG, work_named(CONFIG, "condition"))
    assert ConditionCut.route is torch_ops.dynamic_token_routing
    assert ConditionCut(CONFIG).route is torch_ops.dynamic_token_routing
