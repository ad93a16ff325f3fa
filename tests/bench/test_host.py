"""Who else used the machine: the arithmetic of the counters, and that they are read."""

import time

import pytest
from spar_bench.harness.host import TICK, Load, Snapshot, between, energy, peak_rss, rss, snapshot


def at(wall, own, busy, steal=0.0, waiting=0.0):
    return Snapshot(wall, own, busy, steal, waiting)


def test_foreign_is_what_is_neither_ours_nor_idle():
    load = between(at(0, 1, 10), at(2, 2.5, 13, steal=0.5), others=0.5)
    assert (load.wall, load.own, load.foreign, load.steal) == (2, 2, 1, 0.5)
    assert load.share("foreign") == 0.5
    assert load.share("steal") == 0.25


def test_errors_of_the_coarse_counter_cancel():
    """Everyone's time moves in ticks, ours does not: cut off at 0 turn by turn, the error would look like others."""
    total, ticks, own = Load(), 0, 0.0
    for _ in range(1000):
        before = at(own, own, ticks * TICK)
        own += 0.6 * TICK
        ticks = int(own / TICK)
        total.add(between(before, at(own, own, ticks * TICK)))
    assert abs(total.share("foreign")) < 0.01
    assert Load(wall=1.0, foreign=-0.1).share("foreign") == 0.0


def test_loads_add_up():
    total = Load()
    total.add(Load(1, 0.5, 0.25, 0.1, 0.0))
    total.add(Load(1, 0.5, 0.25, 0.1, 0.0, known=False))
    assert (total.wall, total.foreign, total.known) == (2, 0.5, False)


@pytest.mark.parametrize(
    ("load", "disturbed"),
    [
        (Load(wall=1.0, foreign=0.03), False),
        (Load(wall=1.0, foreign=0.10), True),
        (Load(wall=0.04, foreign=2 * TICK), False),  # the resolution of the counter
        (Load(wall=0.04, foreign=2 * TICK, waiting=0.01), True),  # but somebody had to wait
        (Load(wall=0.04, foreign=4 * TICK), True),
    ],
)
def test_foreign_disturbance(load, disturbed):
    assert load.foreign_disturbed(0.05) == disturbed


@pytest.mark.parametrize(("steal", "disturbed"), [(0.0, False), (TICK, False), (3 * TICK, True)])
def test_steal_disturbance(steal, disturbed):
    assert Load(wall=0.5, steal=steal).steal_disturbed(0.01) == disturbed


def test_a_machine_that_does_not_tell_says_so():
    load = between(Snapshot(0, 0, None, None, None), Snapshot(1, 0.5, None, None, None))
    assert not load.known
    assert load.foreign == 0


def test_the_counters_move():
    before, end = snapshot(), time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass
    load = between(before, snapshot())
    assert load.known
    assert 0 < load.own <= load.wall * 1.1
    assert 0 < rss() <= peak_rss() * 1.1
    assert energy() is None or energy() > 0
