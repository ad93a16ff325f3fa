"""Rows keep their names: those of committed results, of both kinds, and the command line that repeats each."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from spar_bench import group as group_module
from spar_bench.cli import parser
from spar_bench.components import run as components
from spar_bench.components.works import work_named
from spar_bench.group import Group, earned
from spar_bench.harness.measure import Measured
from spar_bench.harness.policy import QUICK
from spar_bench.harness.subject import BenchError
from spar_bench.kernels.case import models
from spar_bench.pipelines import run as pipelines
from spar_bench.pipelines.tasks import Setting
from spar_engine.config import preset

RESULTS = Path(__file__).parents[2] / "bench/results"
DIT = Group("components", "spar-tiny-random", True, work_named(preset("spar-tiny-random"), "dit", tokens=40), 1)
GENERATE = Group("pipeline", "spar-tiny-random", True, Setting(task="generate", steps=4, prompt=9), 1, "steps")


def committed():
    rows = [
        row for path in sorted(RESULTS.glob("*.json")) for row in json.loads(path.read_text("utf-8")).get("rows", ())
    ]
    return [row for row in rows if row["id"].split("/")[0] == "components" and "cpus" not in row["what"]]


def test_rows_of_committed_results_have_the_names_that_they_would_get_now():
    rows, configs = committed(), {config.name: config for config in models()}
    assert rows
    for row in rows:
        what = row["what"]
        work = work_named(configs[what["preset"]], what["component"], **what["sizes"])
        found = Group("components", what["preset"], what["random_weights"], work, what["threads"])
        assert found.identity(what["subject"]) == row["id"]
        assert what.items() <= found.what(what["subject"]).items()


def test_both_kinds_are_named_alike():
    assert DIT.identity("native-bf16") == (
        "components/spar-tiny-random/dit/batch=1,branch=2,height=4,width=4,tokens=40/native-bf16/t1")  # fmt: skip
    assert GENERATE.identity("native-bf16") == (
        "pipeline/spar-tiny-random/generate/steps=4,images=1,prompt=9/native-bf16/t1")  # fmt: skip
    assert GENERATE.what("torch-eager-fp32") | {"tokens": 32} == {
        "preset": "spar-tiny-random", "random_weights": True, "task": "generate", "steps": 4, "images": 1, "prompt": 9,
        "tokens": 32, "size": "steps=4 images=1 prompt=9", "subject": "torch-eager-fp32", "precision": "fp32",
        "threads": 1, "ours": False}  # fmt: skip
    assert DIT.what("native-bf16")["ours"]
    assert GENERATE.growth() == {"axis": "steps", "value": 4}
    assert DIT.growth() is None


@pytest.mark.parametrize(
    ("group", "module"), [(DIT, components), (GENERATE, pipelines)], ids=["components", "pipeline"]
)
def test_a_repro_line_selects_its_row_and_no_other(group, module):
    parsed = parser().parse_args(group.repro("native-fp32").split()[1:])
    again = module.groups(parsed)
    assert [each.identity("x") for each in again] == [group.identity("x")]
    assert parsed.subjects == "native-fp32"


class FakeWorker:
    """A worker whose players are named in `broken`, or open."""

    closed = 0

    def __init__(self, threads):
        assert threads == 1

    def player(self, spec):
        if spec == "does not open":
            raise BenchError("it does not open")
        return Namespace(name=spec)

    def close(self):
        FakeWorker.closed += 1


def test_what_was_not_earned_is_refused_and_every_worker_is_closed(monkeypatch):
    monkeypatch.setattr(group_module, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "closed", 0)
    found = {"good": Measured("good"), "bad": Measured("bad", problem="it is too noisy")}
    monkeypatch.setattr(group_module, "measure", lambda players, *_, **__: {p.name: found[p.name] for p in players})
    refused, specs = [], {"good": "good", "shut": "does not open", "bad": "bad"}
    rows = earned(DIT, specs, QUICK, refused, lambda *_: None, accept_noise=False)
    assert [name for name, _, _ in rows] == ["good"]
    assert [(each["id"], each["reason"]) for each in refused] == [
        (DIT.identity("shut"), "it does not open"), (DIT.identity("bad"), "it is too noisy")]  # fmt: skip
    assert FakeWorker.closed == 3


def test_workers_are_closed_though_measuring_fails(monkeypatch):
    monkeypatch.setattr(group_module, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "closed", 0)

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(group_module, "measure", fail)
    with pytest.raises(KeyboardInterrupt):
        list(earned(DIT, {"good": "good"}, QUICK, [], lambda *_: None, accept_noise=False))
    assert FakeWorker.closed == 1
