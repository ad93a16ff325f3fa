"""Backends whose runs a test opens and closes by hand, and requests in threads of their own."""

import threading
import time

from spar_engine.errors import Cancelled
from spar_engine.pipelines.call import Call, Token
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

    def __call__(self, component, inputs, cancel=None):
        self.ran.append(inputs["who"])
        if self.shut:
            assert self.free.acquire(timeout=PATIENCE)
        return {"out": inputs["who"]}


def pipeline(who, calls):
    """Asks for `calls` runs, with an event after each."""
    for index in range(calls):
        out = yield Call("c", {"who": who})
        yield Token(index, "")
    return out["out"]


def start(scheduler, who, calls=1, work=None, **terms):
    """One request in a thread, which calls or hands over a pipeline; returns the thread and the list that gets its
    result or error."""
    found = []
    terms = {"priority": 0, "deadline": None, "cancel": None} | terms

    def serve():
        try:
            with scheduler.request("t", Terms.of(**terms)) as request:
                if work is not None:
                    found.append(scheduler.drive(request, work))
                    return
                for _ in range(calls):
                    out = scheduler.call(request, "c", {"who": who})
            found.append(out["out"])
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, found


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


def gather(joining, who, terms=None, driven=False, **options):
    """A scheduler that runs a call of its own while those of `who`, three of each, come into line."""
    scheduler = Scheduler(joining, threading.Event, joining, **options)
    threads = [start(scheduler, "lone")]
    until(lambda: joining.ran == ["lone"])
    for number, name in enumerate(who):
        work = pipeline(name, 3) if driven else None
        threads.append(start(scheduler, name, 3, work, **(terms or {}).get(name, {})))
        until(lambda number=number: len(scheduler._calls) == number + 1)
    return scheduler, threads


def finish(joining, threads):
    joining.shut = False
    joining.free.release(100)
    for thread, _ in threads:
        thread.join(PATIENCE)
