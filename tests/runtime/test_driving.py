"""Pipelines that are handed over: they stay together, and end as those do that are driven by their callers."""

import gc
import threading
import weakref

import pytest
from spar_engine.errors import BackendError, Cancelled, DeadlineExceeded
from spar_engine.pipelines.call import Call, Offer
from spar_engine.requests import Terms
from spar_engine.runtime.scheduler import Scheduler

from tests.runtime.by_hand import PATIENCE, Gate, Joining, finish, gather, pipeline, start, until


def drive(scheduler, work, offers=()):
    with scheduler.request("t", Terms.of(0, None, None)) as request:
        return scheduler.drive(request, work, offers)


def test_a_pipeline_goes_on_in_the_thread_that_runs_it_and_its_caller_sleeps(monkeypatch):
    ran = []
    scheduler = Scheduler(lambda component, inputs: ran.append(threading.get_ident()) or {"out": inputs["who"]})
    seen = []

    def watching(who):
        for _ in range(5):
            out = yield Call("c", {"who": who})
            seen.append(threading.get_ident())
        return out

    assert drive(scheduler, watching("a")) == {"out": "a"}
    assert seen == ran
    assert set(ran) == {scheduler._threads[0].ident}
    assert drive(scheduler, pipeline("b", 2)) == "b"
    assert drive(scheduler, iter_of(7)) == 7
    assert len(ran) == 7
    scheduler.close()


def iter_of(value):
    """A pipeline that needs no run."""
    return value
    yield


def test_pipelines_that_meet_stay_together_to_the_end(monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.lanes.GRACE_S", 0)
    joining = Joining()
    scheduler, threads = gather(joining, ["a", "b", "c", "d"], driven=True)
    finish(joining, threads)
    assert joining.ran[1:] == [["a", "b", "c", "d"]] * 3
    assert [found[0] for _, found in threads] == ["lone", "a", "b", "c", "d"]
    scheduler.close()


def test_pipelines_take_turns():
    gate = Gate()
    scheduler = Scheduler(gate)
    threads = [start(scheduler, "a", work=pipeline("a", 4))]
    until(lambda: gate.ran == ["a"])
    threads.append(start(scheduler, "b", work=pipeline("b", 4)))
    until(lambda: scheduler._calls)
    gate.free.release(8)
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert gate.ran == list("abababab")
    scheduler.close()


def test_offers_are_made_where_they_are_taken():
    def offering():
        whole = yield Offer("whole", {})
        return whole if whole is not None else (yield Call("part", {}))

    scheduler = Scheduler(lambda component, inputs: component)
    assert drive(scheduler, offering()) == "part"
    assert drive(scheduler, offering(), ("whole",)) == "whole"
    scheduler.close()


@pytest.mark.parametrize("stage", ["line", "run"])
@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_an_end_is_heard_in_line_and_within_a_run_and_closes_the_pipeline(stage, how):
    joining, stop, closed = Joining(), threading.Event(), []

    def closing():
        try:
            yield from pipeline("lone mine", 3)
        finally:
            closed.append(True)

    scheduler, other = Scheduler(joining, threading.Event), None
    if stage == "line":
        other = start(scheduler, "lone")
        until(lambda: joining.ran == ["lone"])
    thread, found = start(scheduler, "mine", work=closing(),
                          **({"cancel": stop} if how == "cancel" else {"deadline": 0.2}))  # fmt: skip
    until(lambda: scheduler._calls if stage == "line" else "lone mine" in joining.ran)
    stop.set()
    thread.join(PATIENCE)
    assert isinstance(found[0], Cancelled if how == "cancel" else DeadlineExceeded)
    assert closed
    assert joining.ran == (["lone"] if stage == "line" else ["lone mine"])
    finish(joining, [other] if other else [])
    assert drive(scheduler, pipeline("lone after", 2)) == "lone after"
    assert not scheduler._runs
    scheduler.close()


def test_who_leaves_between_two_runs_gets_no_other():
    gate, stop, closed = Gate(shut=False), threading.Event(), []
    scheduler = Scheduler(gate)

    def leaving():
        try:
            yield Call("c", {"who": "a"})
            stop.set()
            until(lambda: scheduler._runs[0].members[0].left)
            yield Call("c", {"who": "a"})
        finally:
            closed.append(True)

    thread, found = start(scheduler, "a", work=leaving(), cancel=stop)
    thread.join(PATIENCE)
    assert isinstance(found[0], Cancelled)
    assert gate.ran == ["a"]
    assert closed
    scheduler.close()


def test_who_leaves_a_joint_run_is_closed_and_the_others_go_on():
    joining, stop = Joining(), threading.Event()
    scheduler, threads = gather(joining, ["a", "b"], {"a": {"cancel": stop}}, driven=True)
    joining.free.release()
    until(lambda: joining.ran[1:] == [["a", "b"]])
    stop.set()
    threads[1][0].join(PATIENCE)
    assert isinstance(threads[1][1][0], Cancelled)
    assert not threads[2][1]
    finish(joining, threads)
    assert joining.ran[1:] == [["a", "b"], "b", "b"]
    assert threads[2][1] == ["b"]
    scheduler.close()


def test_an_error_of_a_run_or_of_the_pipeline_ends_its_own_request_only():
    def failing():
        yield Call("c", {"who": "b"})
        raise KeyError("between two runs")

    joining = Joining(fail=["c"])
    scheduler, threads = gather(joining, ["a", "c"], driven=True)
    threads.append(start(scheduler, "b", work=failing()))
    until(lambda: len(scheduler._calls) == 3)
    finish(joining, threads)
    assert [found[0] if isinstance(found[0], str) else type(found[0]) for _, found in threads] == [
        "lone", "a", MemoryError, KeyError
    ]  # fmt: skip
    scheduler.close()


def test_close_ends_pipelines_in_line_and_under_way():
    gate = Gate()
    scheduler = Scheduler(gate)
    running = start(scheduler, "a", work=pipeline("a", 2))
    until(lambda: gate.ran == ["a"])
    in_line = start(scheduler, "b", work=pipeline("b", 2))
    until(lambda: scheduler._calls)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    in_line[0].join(PATIENCE)
    gate.free.release()
    for thread in (closer, running[0]):
        thread.join(PATIENCE)
    assert [type(found[0]) for _, found in (running, in_line)] == [BackendError, BackendError]
    assert gate.ran == ["a"]
    assert not any(thread.is_alive() for thread in scheduler._threads)


def test_nothing_of_a_finished_pipeline_is_held():
    class Big(dict):
        pass

    scheduler, big = Scheduler(lambda component, inputs: {"out": inputs["who"]}), Big()
    seen = weakref.ref(big)
    start(scheduler, "t", work=pipeline(big, 3))[0].join(PATIENCE)
    until(lambda: not scheduler._runs)
    del big
    gc.collect()
    assert seen() is None
    scheduler.close()
