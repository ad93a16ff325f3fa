"""Turns, priority, deadlines, cancellation and refusals, on a backend whose runs the test opens and closes."""

import gc
import threading
import time
import weakref

import pytest
from spar_engine.errors import BackendError, Busy, Cancelled, DeadlineExceeded, InputError
from spar_engine.requests import Terms
from spar_engine.runtime.scheduler import Scheduler

from tests.runtime.by_hand import PATIENCE, Gate, start, until


@pytest.fixture
def gate():
    return Gate()


def test_requests_take_turns(gate):
    scheduler = Scheduler(gate)
    threads = [start(scheduler, "a", 4)]
    until(lambda: gate.ran == ["a"])
    threads.append(start(scheduler, "b", 4))
    until(lambda: len(scheduler._calls) == 1)
    for served in range(2, 9):  # whoever was served last is in line again before the next one ends
        gate.free.release()
        until(lambda served=served: len(gate.ran) == served and (len(scheduler._calls) == 1 or served >= 7))
    gate.free.release()
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert gate.ran == list("abababab")
    scheduler.close()


def test_priority_goes_first_but_the_rest_is_still_served(gate, monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.lanes.GRACE_S", PATIENCE)
    scheduler = Scheduler(gate)
    threads = [start(scheduler, "first")]
    until(lambda: gate.ran == ["first"])
    threads.append(start(scheduler, "low", 1, priority=-1))
    until(lambda: len(scheduler._calls) == 1)
    threads.append(start(scheduler, "high", 30))
    until(lambda: len(scheduler._calls) == 2)
    for _ in range(32):
        gate.free.release()
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert gate.ran[1] == "high"
    assert 5 <= gate.ran.index("low") <= 12, gate.ran
    scheduler.close()


def test_a_near_deadline_goes_first(gate):
    scheduler = Scheduler(gate)
    threads = [start(scheduler, "first")]
    until(lambda: gate.ran == ["first"])
    threads.append(start(scheduler, "plain"))
    until(lambda: len(scheduler._calls) == 1)
    threads.append(start(scheduler, "late", deadline=3.0))
    until(lambda: len(scheduler._calls) == 2)
    time.sleep(1.6)
    for _ in range(3):
        gate.free.release()
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert gate.ran == ["first", "late", "plain"]
    scheduler.close()


def test_a_full_line_is_busy_and_moves_on(gate):
    scheduler = Scheduler(gate, max_running=1, max_waiting=1)
    first = start(scheduler, "a")
    until(lambda: gate.ran == ["a"])
    second = start(scheduler, "b")
    until(lambda: scheduler.waiting == 1)
    _, refused = start(scheduler, "c")
    until(lambda: refused)
    assert isinstance(refused[0], Busy)
    assert "1 requests run and 1 wait" in str(refused[0])
    gate.free.release(2)
    for thread, _ in (first, second):
        thread.join(PATIENCE)
    assert gate.ran == ["a", "b"]
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    scheduler.close()


@pytest.mark.parametrize("stage", ["line", "call", "run"])
@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_an_end_is_heard_wherever_a_request_waits(gate, stage, how):
    stop = threading.Event()
    scheduler = Scheduler(gate, max_running=1 if stage == "line" else 2)
    other = None
    if stage != "run":
        other = start(scheduler, "other")
        until(lambda: gate.ran == ["other"])
    terms = {"cancel": stop} if how == "cancel" else {"deadline": 0.2}
    thread, found = start(scheduler, "mine", **terms)
    until(lambda: {"line": scheduler.waiting, "call": scheduler._calls, "run": "mine" in gate.ran}[stage])
    stop.set()
    if stage == "run":  # a run that has begun ends before its request does: the backend reads its inputs
        time.sleep(0.3)
        assert not found
        gate.free.release()
    thread.join(PATIENCE)
    assert isinstance(found[0], Cancelled if how == "cancel" else DeadlineExceeded)
    assert ("mine" in gate.ran) == (stage == "run")
    if other:
        gate.free.release()
        other[0].join(PATIENCE)
        assert other[1] == ["other"]
    gate.shut = False
    assert start(scheduler, "after")[0].join(PATIENCE) is None
    assert gate.ran[-1] == "after"
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    scheduler.close()


def test_a_backend_that_can_stops_within_a_run():
    class Flag:
        def __init__(self):
            self.event = threading.Event()
            self.set = self.event.set

    running = threading.Event()

    def run(component, inputs, cancel):
        running.set()
        assert cancel.event.wait(PATIENCE)
        raise Cancelled("within")

    scheduler, stop = Scheduler(run, Flag), threading.Event()
    thread, found = start(scheduler, "a", cancel=stop)
    assert running.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert isinstance(found[0], Cancelled)
    thread, found = start(scheduler, "a", deadline=0.1)
    thread.join(PATIENCE)
    assert isinstance(found[0], DeadlineExceeded)
    thread, found = start(scheduler, "a")
    until(lambda: scheduler._runs)
    scheduler.close()
    thread.join(PATIENCE)
    assert isinstance(found[0], BackendError)
    assert not isinstance(found[0], Cancelled)


def test_an_error_of_the_backend_reaches_its_own_request_only():
    def run(component, inputs):
        if inputs["who"] == "bad":
            raise MemoryError("no memory")
        return {"out": inputs["who"]}

    scheduler = Scheduler(run)
    bad, good = start(scheduler, "bad"), start(scheduler, "good", 3)
    for thread, _ in (bad, good):
        thread.join(PATIENCE)
    assert isinstance(bad[1][0], MemoryError)
    assert good[1] == ["good"]
    scheduler.close()


def test_close_ends_those_who_wait_and_refuses_new_ones(gate):
    scheduler = Scheduler(gate, max_running=2)
    running, in_call = start(scheduler, "a"), None
    until(lambda: gate.ran == ["a"])
    in_call, in_line = start(scheduler, "b"), None
    until(lambda: scheduler._calls)
    in_line = start(scheduler, "c")
    until(lambda: scheduler.waiting)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    for thread, found in (in_call, in_line):
        thread.join(PATIENCE)
        assert isinstance(found[0], BackendError)
    gate.free.release()
    closer.join(PATIENCE)
    running[0].join(PATIENCE)
    assert running[1] == ["a"]
    _, late = start(scheduler, "d")
    until(lambda: late)
    assert isinstance(late[0], BackendError)
    assert scheduler.running == 0


def test_nothing_of_a_finished_request_is_held():
    class Big(dict):
        pass

    scheduler = Scheduler(lambda component, inputs: {"out": inputs["who"]})
    big = Big()
    seen = weakref.ref(big)
    start(scheduler, big)[0].join(PATIENCE)
    until(lambda: not scheduler._runs)
    del big
    gc.collect()
    assert seen() is None
    scheduler.close()


@pytest.mark.parametrize(("terms", "message"), [
    ((11, None, None), "priority=11"), ((1.5, None, None), "priority=1.5"), ((0, 0, None), "deadline=0"),
    ((0, float("nan"), None), "deadline=nan"), ((0, True, None), "deadline=True"), ((0, None, 3), "cancel=3"),
])  # fmt: skip
def test_bad_terms_are_refused(terms, message):
    with pytest.raises(InputError, match=message):
        Terms.of(*terms)
