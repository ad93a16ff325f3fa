"""Turns, priority, deadlines, cancellation and refusals, on a backend whose runs the test opens and closes."""

import gc
import threading
import time
import weakref

import pytest
from spar_engine.errors import BackendError, Busy, Cancelled, DeadlineExceeded, InputError
from spar_engine.requests import Terms
from spar_engine.runtime.scheduler import Scheduler

PATIENCE = 20


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


class Gate:
    """A backend whose runs wait until they are let through, and that remembers their order."""

    def __init__(self, shut=True):
        self.ran, self.shut, self.free = [], shut, threading.Semaphore(0)

    def __call__(self, component, inputs):
        self.ran.append(inputs["who"])
        if self.shut:
            assert self.free.acquire(timeout=PATIENCE)
        return {"out": inputs["who"]}


def start(scheduler, who, calls=1, **terms):
    """One request in a thread; returns the thread and the list that gets its result or error."""
    found = []
    terms = {"priority": 0, "deadline": None, "cancel": None} | terms

    def work():
        try:
            with scheduler.request("t", Terms.of(**terms)) as request:
                for _ in range(calls):
                    out = scheduler.call(request, "c", {"who": who})
            found.append(out["out"])
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, found


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
    monkeypatch.setattr("spar_engine.runtime.scheduler.GRACE_S", PATIENCE)
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
    until(lambda: scheduler._current is not None)
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


class Joining:
    """What a backend says of calls that can be one run; `ran` holds the members of every run."""

    def __init__(self, fail=()):
        self.ran, self.fail, self.shut, self.free = [], fail, True, threading.Semaphore(0)

    def alike(self, component, inputs):
        return None if inputs["who"].startswith("lone") else component

    def join(self, many):
        return {"who": [inputs["who"] for inputs in many]}

    def split(self, many, outputs):
        return [{"out": who} for who in outputs["out"]]

    def __call__(self, component, inputs, cancel):
        self.ran.append(inputs["who"])
        if self.shut:
            while not self.free.acquire(timeout=0.005):
                if cancel.is_set():
                    raise Cancelled("within")
        if set(self.fail) & set([inputs["who"]] if isinstance(inputs["who"], str) else inputs["who"]):
            raise MemoryError("no memory")
        return {"out": inputs["who"]}


def gather(joining, who, terms=None, **options):
    """A scheduler that runs a call of its own while those of `who` come into line."""
    scheduler = Scheduler(joining, threading.Event, joining, **options)
    threads = [start(scheduler, "lone")]
    until(lambda: joining.ran == ["lone"])
    for number, name in enumerate(who):
        threads.append(start(scheduler, name, 3, **(terms or {}).get(name, {})))
        until(lambda number=number: len(scheduler._calls) == number + 1)
    return scheduler, threads


def finish(joining, threads):
    joining.shut = False
    joining.free.release(100)
    for thread, _ in threads:
        thread.join(PATIENCE)


def test_calls_that_can_be_joined_are_one_run_and_stay_together(monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.scheduler.GRACE_S", PATIENCE)
    joining = Joining()
    scheduler, threads = gather(joining, ["a", "b", "c"])
    finish(joining, threads)
    assert joining.ran[1] == ["a", "b", "c"]
    assert [len(run) for run in joining.ran[1:]] == [3, 3, 3]
    assert [found[0] for _, found in threads] == ["lone", "a", "b", "c"]
    scheduler.close()


def test_a_run_takes_no_more_than_it_may_and_nobody_of_another_priority(monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.scheduler.GRACE_S", PATIENCE)
    joining = Joining()
    scheduler, threads = gather(joining, ["a", "b", "c", "d"], {"b": {"priority": 1}}, max_batch=2)
    finish(joining, threads)
    assert all(who == "b" or "b" not in who for who in joining.ran[1:])
    assert max(len(run) for run in joining.ran[1:]) == 2
    assert joining.ran[1] == "b"
    assert next(run for run in joining.ran if isinstance(run, list)) == ["a", "c"]
    scheduler.close()
    joining = Joining()
    scheduler, threads = gather(joining, ["a", "b"], max_batch=1)
    finish(joining, threads)
    assert all(isinstance(run, str) for run in joining.ran)
    scheduler.close()


def test_who_leaves_a_joint_run_does_not_wait_and_the_last_one_stops_it():
    joining, stops = Joining(), [threading.Event(), threading.Event()]
    scheduler, threads = gather(joining, ["a", "b"], {"a": {"cancel": stops[0]}, "b": {"cancel": stops[1]}})
    joining.free.release()
    until(lambda: joining.ran[1:] == [["a", "b"]])
    stops[0].set()
    threads[1][0].join(PATIENCE)
    assert isinstance(threads[1][1][0], Cancelled)
    assert scheduler._current is not None  # it goes on for the other one
    assert not threads[2][1]
    stops[1].set()
    threads[2][0].join(PATIENCE)
    assert isinstance(threads[2][1][0], Cancelled)
    until(lambda: scheduler._current is None)
    joining.shut = False
    assert start(scheduler, "after")[0].join(PATIENCE) is None
    scheduler.close()


def test_an_error_in_a_joint_run_ends_the_request_that_caused_it():
    joining = Joining(fail=["b"])
    scheduler, threads = gather(joining, ["a", "b", "c"])
    finish(joining, threads)
    assert [found[0] if isinstance(found[0], str) else type(found[0]) for _, found in threads] == [
        "lone", "a", MemoryError, "c"
    ]  # fmt: skip
    scheduler.close()


def test_nothing_of_a_finished_request_is_held():
    class Big(dict):
        pass

    scheduler = Scheduler(lambda component, inputs: {"out": inputs["who"]})
    big = Big()
    seen = weakref.ref(big)
    start(scheduler, big)[0].join(PATIENCE)
    until(lambda: scheduler._current is None)
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
