"""Interleaving, discarding and stopping, with players that take no time."""

import time

import pytest
from spar_bench.harness import measure as module
from spar_bench.harness.host import Load
from spar_bench.harness.measure import LocalPlayer, measure
from spar_bench.harness.policy import Policy
from spar_bench.harness.remote import Worker
from spar_bench.harness.subject import BenchError
from spar_bench.harness.synthetic import Scale, ScaleOracle
from spar_bench.harness.turn import Plan, Turn, in_a_row, take_turn
from spar_bench.harness.yardstick import Yardstick

POLICY = Policy(least_turns=6, seconds=0.5, precision=0.02, tolerable=0.1)
QUIET = Load(wall=0.05, own=0.05)


class Scripted:
    """Gives the turns it was told to; the last one for ever."""

    def __init__(self, name, *turns, log=None):
        self.name, self.turns, self.log = name, list(turns), [] if log is None else log

    def ready(self, turn_seconds, most_samples):
        return None

    def turn(self):
        self.log.append(self.name)
        time.sleep(0.001)
        samples, load = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        return Turn(list(samples), load)


@pytest.fixture(autouse=True)
def _steady(monkeypatch):
    monkeypatch.setattr(module, "yardstick", lambda: Yardstick(1.0, 1.0))


def steady(value=100.0):
    return [value * share for share in (0.99, 1.0, 1.01, 1.0, 0.995, 1.005)], QUIET


def test_rounds_hold_one_turn_of_each_in_changing_order():
    log = []
    done = measure([Scripted(name, steady(), log=log) for name in "abc"], POLICY)
    rounds = [log[i : i + 3] for i in range(0, len(log), 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert all(sorted(measured.turns) == list(range(len(rounds))) for measured in done.values())


def test_it_stops_when_the_interval_is_narrow():
    done = measure([Scripted("a", steady())], POLICY)
    assert done["a"].tried == POLICY.least_turns
    assert done["a"].summary.median == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("load", "reason"),
    [(Load(wall=0.05, own=0.05, foreign=0.05), "foreign CPU"), (Load(wall=0.05, steal=0.02), "steal")],
)
def test_disturbed_turns_are_discarded(load, reason):
    bad = [1000.0] * 6, load
    done = measure([Scripted("a", bad, bad, steady())], POLICY)
    assert done["a"].discarded == {reason: 2}
    assert sorted(done["a"].turns) == list(range(2, 8))
    assert done["a"].summary.p95 < 110


def test_a_slow_clock_is_a_disturbance(monkeypatch):
    speeds = iter([1.0, 1.5, 1.5] + [1.0] * 100)
    monkeypatch.setattr(module, "yardstick", lambda: Yardstick(next(speeds), 1.0))
    assert measure([Scripted("a", steady())], POLICY)["a"].discarded == {"slow clock": 2}


def test_too_busy_is_an_error_that_says_why():
    busy = [100.0] * 6, Load(wall=0.05, foreign=0.1)
    measured = measure([Scripted("a", busy)], Policy(least_turns=6, seconds=0.01))["a"]
    assert measured.summary is None
    assert "the machine is too busy: 0 turns kept" in measured.problem
    assert "for foreign CPU" in measured.problem


def test_too_noisy_is_an_error_that_says_how():
    wild = [100.0, 200.0, 400.0, 50.0, 800.0, 100.0], QUIET
    measured = measure([Scripted("a", wild)], Policy(least_turns=6, seconds=0.01))["a"]
    assert "too noisy: the 95 % interval of the median reaches" in measured.problem


def test_accepted_noise_is_kept_and_recorded():
    busy = [100.0, 101.0], Load(wall=0.05, foreign=0.1)
    measured = measure([Scripted("a", busy)], Policy(least_turns=6, seconds=0.01), accept_noise=True)["a"]
    assert measured.summary is not None
    assert measured.discarded == {"foreign CPU": measured.tried}
    assert measured.load.foreign > 0


def test_one_that_fails_does_not_stop_the_others():
    class Failing(Scripted):
        def turn(self):
            raise BenchError("it broke")

    done = measure([Failing("bad"), Scripted("good", steady())], POLICY)
    assert done["bad"].problem == "it broke"
    assert done["good"].summary is not None


def test_names_must_differ():
    with pytest.raises(BenchError, match="do not have different names"):
        measure([Scripted("a", steady()), Scripted("a", steady())], POLICY)


def test_short_calls_are_timed_in_a_row_within_their_slots():
    subject = Scale(ScaleOracle(), slots=4)
    assert in_a_row(subject, 10e-6, cold=False) == 4
    assert in_a_row(subject, 100e-6, cold=False) == 2
    assert in_a_row(subject, 1e-3, cold=False) == 1
    assert in_a_row(subject, 10e-6, cold=True) == 1


def test_timed_calls_never_have_the_same_inputs():
    class Noting(Scale):
        def run(self, slot):
            seen.append(self.x[slot].tobytes())

    seen = []
    take_turn(Noting(ScaleOracle(), slots=3), Plan(samples=5, inner=3))
    assert len(set(seen)) == len(seen) == 1 + 15


def test_cold_turns_empty_the_caches(monkeypatch):
    from spar_bench.harness import turn

    swept = []
    monkeypatch.setattr(turn, "evict", lambda: swept.append(True))
    take_turn(Scale(ScaleOracle()), Plan(samples=3, cold=True))
    assert len(swept) == 3


def test_a_worker_measures_like_this_process():
    oracle = ScaleOracle()
    with Worker(threads=1) as worker:
        there = worker.player({"kind": "synthetic", "name": "there", "variant": "honest"})
        done = measure([there, LocalPlayer("here", Scale(oracle), oracle)], Policy(least_turns=4, seconds=2.0),
                       accept_noise=True)  # fmt: skip
    assert done["there"].check.worst().share == done["here"].check.worst().share
    assert 1 / 3 < done["there"].summary.median / done["here"].summary.median < 3


def test_workers_refuse_in_one_line_and_survive_it():
    with Worker(threads=1) as worker:
        with pytest.raises(BenchError, match=r"synthetic variant 'x' is unknown; there are \['asynchronous'"):
            worker.player({"kind": "synthetic", "name": "a", "variant": "x"})
        cheat = worker.player({"kind": "synthetic", "name": "half", "variant": "half-work"})
        with pytest.raises(BenchError, match="half: output `y` is wrong on its first call"):
            cheat.ready(0.01, 4)
        assert worker.memory()["peak_rss"] > 1 << 20
        with pytest.raises(BenchError, match="is not of this package"):
            worker.ask("call", module="os", function="getpid", arguments={})


def test_a_dead_worker_is_an_error():
    with Worker(threads=1) as worker:
        worker._child.kill()
        with pytest.raises(BenchError, match="killed, probably for lack of memory"):
            worker.memory()
        assert not worker.alive()
    with pytest.raises(BenchError, match="threads=0 must be from 1 to"):
        Worker(threads=0)
