"""The waterfall of a request: stages that add up to it, with what the host did between them."""

import itertools
import time

import pytest
from spar_bench.pipelines.trace import TracedBackend
from spar_bench.report.waterfall import spans, terminal


class Sleeper:
    name = "sleeper"

    def run(self, component, seconds):
        time.sleep(seconds)
        return {component: seconds}


@pytest.fixture
def traced():
    made = TracedBackend(Sleeper())
    made.reset()
    for component in ("dit", "dit", "decoder"):
        time.sleep(0.01)
        assert made.run(component, 0.02) == {component: 0.02}
    time.sleep(0.03)
    made.finish()
    return made


def test_stages_follow_each_other_and_add_up_to_the_request(traced):
    stages = traced.stages()
    assert [stage["name"] for stage in stages] == ["host", "dit", "host", "dit", "host", "decoder", "host"]
    for before, after in itertools.pairwise(stages):
        assert after["start_s"] == pytest.approx(before["start_s"] + before["seconds"], abs=3e-6)
    assert sum(stage["seconds"] for stage in stages) == pytest.approx(traced.whole, abs=1e-5)
    host = next(span for span in spans(stages) if span["name"] == "host")
    assert 0.06 <= host["busy_s"] < traced.whole - 0.06
    assert traced.name == "sleeper"


def test_a_new_request_starts_anew(traced):
    traced.reset()
    traced.run("dit", 0.0)
    traced.finish()
    assert [stage["name"] for stage in traced.stages() if stage["name"] != "host"] == ["dit"]


def test_the_terminal_shows_the_request_that_was_traced(traced):
    """Not the median of all: shares of another request's time would not add up."""
    first, *lines = terminal({"id": "a", "stages": traced.stages(), "time": {"median": 1e12}}).splitlines()
    assert first.startswith("a: ")
    shares = [int(line.rsplit(maxsplit=1)[1].rstrip("%")) for line in lines]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert next(line for line in lines if "host" in line).count("#") == 0
    assert terminal({"id": "a", "time": {"median": 1.0}}) == ""
