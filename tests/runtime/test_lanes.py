"""Several runs at a time: who may begin beside whom, how calls are shared out, and that lanes start and end."""

import threading

import spar_engine
from spar_engine.errors import BackendError
from spar_engine.runtime.scheduler import Scheduler

from tests.runtime.by_hand import PATIENCE, Gate, Joining, finish, pipeline, start, until


def test_as_many_runs_at_a_time_as_there_are_lanes():
    gate = Gate()
    scheduler = Scheduler(gate, lanes=2)
    threads = [start(scheduler, who) for who in "abc"]
    until(lambda: len(gate.ran) == 2 and len(scheduler._calls) == 1)
    assert len(scheduler._runs) == 2
    gate.free.release(3)
    for thread, found in threads:
        thread.join(PATIENCE)
        assert isinstance(found[0], str)
    assert sorted(gate.ran) == list("abc")
    scheduler.close()


def test_lanes_are_started_when_they_are_needed():
    gate = Gate()
    scheduler = Scheduler(gate, lanes=3)
    first = start(scheduler, "a", work=pipeline("a", 3))
    until(lambda: gate.ran == ["a"])
    assert len(scheduler._threads) == 1
    second = start(scheduler, "b", work=pipeline("b", 1))
    until(lambda: gate.ran == ["a", "b"])
    assert len(scheduler._threads) == 2
    gate.free.release(4)
    for thread, _ in (first, second):
        thread.join(PATIENCE)
    scheduler.close()
    assert not any(thread.is_alive() for thread in scheduler._threads)


def test_lanes_share_the_calls_that_could_be_one_run():
    joining = Joining()
    scheduler = Scheduler(joining, threading.Event, joining, lanes=2)
    threads = []
    for number, who in enumerate(["lone1", "lone2", "a", "b", "c"]):
        work = pipeline(who, 1 if who.startswith("lone") else 3)
        threads.append(start(scheduler, who, work=work))
        until(lambda number=number: len(joining.ran) + len(scheduler._calls) == number + 1)
    joining.free.release()
    until(lambda: len(joining.ran) == 3)
    assert joining.ran[2] == ["a", "b"]  # three of them, two lanes
    joining.free.release()
    until(lambda: len(joining.ran) == 4)
    assert len(scheduler._runs) == 2
    finish(joining, threads)
    assert [found[0] for _, found in threads] == ["lone1", "lone2", "a", "b", "c"]
    assert max(len(run) for run in joining.ran if isinstance(run, list)) == 2
    scheduler.close()


def test_nobody_begins_beside_a_run_of_a_higher_priority_but_all_are_served():
    gate = Gate()
    scheduler = Scheduler(gate, lanes=2)
    threads = [start(scheduler, "high", work=pipeline("high", 30), priority=1)]
    until(lambda: gate.ran == ["high"])
    threads.append(start(scheduler, "low", work=pipeline("low", 2)))
    until(lambda: scheduler._calls)
    threads.append(start(scheduler, "other", work=pipeline("other", 1), priority=1))
    until(lambda: len(gate.ran) == 2)
    assert gate.ran == ["high", "other"]
    gate.free.release(40)
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert 5 <= gate.ran.index("low") <= 12, gate.ran
    assert len(gate.ran) == 33
    scheduler.close()


def test_close_ends_what_every_lane_runs():
    gate = Gate()
    scheduler = Scheduler(gate, lanes=2)
    threads = [start(scheduler, who, work=pipeline(who, 2)) for who in "ab"]
    until(lambda: len(gate.ran) == 2)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    until(lambda: scheduler._closed)
    gate.free.release(2)
    for thread in (closer, *(thread for thread, _ in threads)):
        thread.join(PATIENCE)
    assert all(isinstance(found[0], BackendError) for _, found in threads)
    assert scheduler._run is None


def test_small_models_have_a_lane_for_each_thread_but_not_within_a_budget(golden_dir):
    path = golden_dir("spar-tiny") / "checkpoint"
    for options, lanes in (({"threads": 2}, 2), ({"threads": 9}, 4), ({"threads": 2, "memory_budget": 1 << 30}, 1)):
        with spar_engine.load(path, backend="native", **options) as engine:
            assert engine._scheduler._lanes == lanes
    with spar_engine.load("spar-1b", backend="native", random_weights=True, threads=2) as engine:
        assert engine._scheduler._lanes == 1
