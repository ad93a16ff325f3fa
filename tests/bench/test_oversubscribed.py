"""More threads than CPUs: both sides confined alike and interleaved, and the ratio decides."""

import json

import pytest
from spar_bench import oversubscribed
from spar_bench.cli import main
from spar_bench.harness import measure as module
from spar_bench.harness import record
from spar_bench.harness.host import Load
from spar_bench.harness.remote import Worker
from spar_bench.harness.subject import BenchError
from spar_bench.harness.turn import Turn
from spar_bench.harness.yardstick import Yardstick

COMMAND = ["oversubscribed", "--preset", "spar-tiny-random", "--component", "dit", "--subjects", "native-int4",
           "--policy", "quick"]  # fmt: skip


class Steady:
    """A subject that always takes as long."""

    def __init__(self, name, took):
        self.name, self.took = name, took

    def ready(self, turn_seconds, most_samples):
        return None

    def turn(self):
        return Turn([self.took * share for share in (0.99, 1.0, 1.01)], Load(wall=0.05, own=0.05))


@pytest.fixture
def started(monkeypatch):
    """Workers that were asked for; `started.seconds` says how long a call takes with so many threads."""

    class Started(list):
        def __init__(self):
            super().__init__()
            self.seconds = {}

    workers = Started()

    class Fake:
        def __init__(self, *, threads, cpus):
            self.threads = threads
            workers.append((threads, cpus))

        def player(self, spec):
            if self.threads not in workers.seconds:
                raise BenchError("it cannot be opened")
            return Steady(spec["name"], workers.seconds[self.threads])

        def close(self):
            return

    monkeypatch.setattr(oversubscribed, "Worker", Fake)
    monkeypatch.setattr(oversubscribed, "reference_of", lambda what: {"path": "none"})
    monkeypatch.setattr("spar_bench.options.cpu", lambda: {"cores": 2})
    monkeypatch.setattr(module, "yardstick", lambda: Yardstick(1.0, 1.0))
    return workers


@pytest.mark.parametrize(("crowded", "code", "says"), [(110.0, 0, "within 1.15"), (130.0, 1, "ABOVE 1.15")])
def test_the_ratio_decides(started, tmp_path, capsys, crowded, code, says):
    started.seconds = {1: 100.0, 2: crowded}
    assert main([*COMMAND, "--json", str(tmp_path / "a.json")]) == code
    assert started == [(1, 1), (2, 1)]
    shown = capsys.readouterr().out
    assert says in shown
    assert "native-int4/t2-on-1" in shown
    made = json.loads((tmp_path / "a.json").read_text())
    alone, both = made["rows"]
    assert [row["what"]["threads"] for row in (alone, both)] == [1, 2]
    assert alone["what"]["cpus"] == both["what"]["cpus"] == 1
    extra = both["extra"]
    assert extra["against_one_thread"]["value"] == pytest.approx(crowded / 100, rel=1e-6)
    assert extra["ratio_low"]["value"] <= extra["against_one_thread"]["value"] <= extra["ratio_high"]["value"]
    assert both["repro"].startswith("spar-bench oversubscribed --preset spar-tiny-random --component dit")
    pytest.importorskip("jsonschema")
    record.validate(made)


def test_another_limit(started):
    started.seconds = {1: 100.0, 2: 130.0}
    assert main([*COMMAND, "--limit", "1.4"]) == 0


def test_a_side_that_cannot_be_opened_is_refused(started, capsys):
    started.seconds = {1: 100.0}
    assert main(COMMAND) == 1
    assert "it cannot be opened" in capsys.readouterr().err


def test_one_thread_has_nothing_to_compare(started, capsys):
    assert main([*COMMAND, "--threads", "1"]) == 2
    assert "give 2 or more" in capsys.readouterr().err


def test_a_worker_has_the_cpus_it_is_confined_to():
    with Worker(threads=1, cpus=1) as worker:
        asked = worker.ask("call", module="spar_bench.harness.environment", function="cpu", arguments={})
    assert asked["cores"] == 1
    with pytest.raises(BenchError, match="cpus=0 must be from 1 to"):
        Worker(threads=1, cpus=0)
