"""Calls of several requests as one run: who joins, who leaves, and whose error it is."""

import threading

from spar_engine.errors import Cancelled

from tests.runtime.by_hand import PATIENCE, Joining, finish, gather, start, until


def test_calls_that_can_be_joined_are_one_run_and_stay_together(monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.lanes.GRACE_S", PATIENCE)
    joining = Joining()
    scheduler, threads = gather(joining, ["a", "b", "c"])
    finish(joining, threads)
    assert joining.ran[1] == ["a", "b", "c"]
    assert [len(run) for run in joining.ran[1:]] == [3, 3, 3]
    assert [found[0] for _, found in threads] == ["lone", "a", "b", "c"]
    scheduler.close()


def test_a_run_takes_no_more_than_it_may_and_nobody_of_another_priority(monkeypatch):
    monkeypatch.setattr("spar_engine.runtime.lanes.GRACE_S", PATIENCE)
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
    assert scheduler._runs  # it goes on for the other one
    assert not threads[2][1]
    stops[1].set()
    threads[2][0].join(PATIENCE)
    assert isinstance(threads[2][1][0], Cancelled)
    until(lambda: not scheduler._runs)
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
