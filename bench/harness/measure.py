"""Interleaved measurement: every subject has a turn in every round, in an order drawn anew, until the noise allows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .host import Load
from .policy import KERNELS, Policy
from .stats import Summary, summarize
from .subject import BenchError, Check, Oracle, Subject
from .turn import Plan, Turn, audit, estimate, in_a_row, settle, take_turn
from .verify import SEEDS, SLOW, verify
from .yardstick import Yardstick, yardstick

AUDIT_SLOW = 4  # a quick subject is checked after every turn, a slow one after every fourth
EVICTION = 0.005  # seconds that emptying the caches takes, about


class Player(Protocol):
    """A subject that takes turns, here or in another process. Both calls may raise BenchError."""

    name: str

    def ready(self, turn_seconds: float, most_samples: int) -> Check | None:
        """Verify, warm up and settle how many calls a turn has."""

    def turn(self) -> Turn:
        """Take one turn, then let thread pools come to rest."""


class LocalPlayer:
    """A subject of this process. `cold` empties the caches before every call."""

    def __init__(self, name: str, subject: Subject, oracle: Oracle | None, *, cold: bool = False, seeds=SEEDS):
        self.name, self.subject, self.oracle, self.cold, self.seeds = name, subject, oracle, cold, seeds
        self._plan, self._turns = Plan(cold=cold), 0

    def ready(self, turn_seconds: float, most_samples: int) -> Check | None:
        check = verify(self.name, self.subject, self.oracle, self.seeds) if self.oracle else None
        call, fill = estimate(self.subject, self.seeds)
        inner = in_a_row(self.subject, call, self.cold)
        each = inner * (call + fill) + (EVICTION if self.cold else 0.0)
        samples = max(1, min(most_samples, round(turn_seconds / each)))
        self._plan = Plan(samples, inner, self.cold, wake=call < SLOW)
        settle()
        return check

    def turn(self) -> Turn:
        taken = take_turn(self.subject, self._plan, self.seeds)
        if self.oracle is not None and (self._plan.wake or self._turns % AUDIT_SLOW == 0):
            audit(self.name, self.subject, self.oracle, self._plan.inner - 1, self.seeds)
        self._turns += 1
        settle()
        return taken


@dataclass(slots=True)
class Measured:
    """What came of one subject. Exactly one of `summary` and `problem` is set."""

    name: str
    check: Check | None = None
    turns: dict[int, Turn] = field(default_factory=dict)  # kept ones, by round
    tried: int = 0  # turns taken
    discarded: dict[str, int] = field(default_factory=dict)  # reason: turns
    load: Load = field(default_factory=Load)  # over the kept turns
    yardsticks: list[Yardstick] = field(default_factory=list)
    summary: Summary | None = None
    problem: str | None = None
    spent: float = 0.0  # seconds
    extra: dict[str, Any] = field(default_factory=dict)

    def medians(self) -> dict[int, float]:
        """Median nanoseconds of every kept turn, by round."""
        return {number: summarize([turn.samples]).median for number, turn in self.turns.items()}


def measure(
    players: list[Player],
    policy: Policy = KERNELS,
    *,
    accept_noise: bool = False,
    progress: Callable[[str, float], None] | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    pace: Callable[[str], Yardstick | None] = lambda _: yardstick(),
) -> dict[str, Measured]:
    """Measure all players together, by name.

    A player that fails its check, or stays too noisy, has a `problem` instead of a `summary`; the others go on.
    accept_noise  keep disturbed turns and wide intervals; the record still says how disturbed they were
    progress      called with a player's name and its share of the way to the end after every turn
    clock, pace   seconds, and the yardstick before a player's turn: of this machine now, or of a recording (`replay`)
    """
    done = {player.name: Measured(player.name) for player in players}
    if len(done) != len(players):
        raise BenchError(f"subjects {sorted(player.name for player in players)} do not have different names")
    playing = [player for player in players if _start(player, done[player.name], policy)]
    order, best, number = random.Random(seed), None, 0
    while any(_wants_more(done[player.name], policy) for player in playing):
        order.shuffle(playing)
        for player in list(playing):
            measured, begin = done[player.name], clock()
            before = pace(player.name)
            try:
                turn = player.turn()
            except BenchError as error:
                measured.problem, measured.summary = str(error), None  # earlier turns of a wrong subject count no more
                playing.remove(player)
                continue
            best = _best(best, before)
            measured.spent += clock() - begin
            _keep(measured, number, turn, before, best, policy, accept_noise)
            if progress is not None:
                progress(player.name, _share(measured, policy))
        number += 1
    for player in playing:
        _finish(done[player.name], policy, accept_noise)
    return done


def _start(player: Player, measured: Measured, policy: Policy) -> bool:
    try:
        measured.check = player.ready(policy.turn_seconds, policy.most_samples)
    except BenchError as error:
        measured.problem = str(error)
    return measured.problem is None


def _wants_more(measured: Measured, policy: Policy) -> bool:
    if measured.problem is not None or measured.spent >= _budget(measured, policy):
        return False
    return measured.summary is None or not _settled(measured, policy)


def _budget(measured: Measured, policy: Policy) -> float:
    """Seconds of a subject: those of the policy, or half as many turns again as are needed at least."""
    return max(policy.seconds, 1.5 * policy.least_turns * measured.spent / max(1, measured.tried))


def _settled(measured: Measured, policy: Policy) -> bool:
    summary = measured.summary
    enough = len(measured.turns) >= policy.least_turns and summary.samples >= policy.least_samples
    return enough and summary.half_width <= policy.precision


def _share(measured: Measured, policy: Policy) -> float:
    turns = len(measured.turns) / policy.least_turns
    if measured.summary is not None and turns >= 1:
        turns = min(1.0, policy.precision / max(measured.summary.half_width, 1e-9))
    return min(1.0, max(turns, measured.spent / _budget(measured, policy)))


def _best(best: Yardstick | None, now: Yardstick | None) -> Yardstick | None:
    if best is None or now is None:
        return best or now
    return Yardstick(min(best.compute, now.compute), min(best.memory, now.memory))


def _keep(measured, number, turn: Turn, before: Yardstick | None, best, policy: Policy, accept_noise: bool) -> None:
    reason = None
    measured.tried += 1
    if turn.load.steal_disturbed(policy.steal):
        reason = "steal"
    elif turn.load.foreign_disturbed(policy.foreign):
        reason = "foreign CPU"
    elif before is not None and before.compute > (1 + policy.slowdown) * best.compute:
        reason = "slow clock"
    if reason is not None:
        measured.discarded[reason] = measured.discarded.get(reason, 0) + 1
        if not accept_noise:
            return
    measured.turns[number] = turn
    measured.load.add(turn.load)
    if before is not None:
        measured.yardsticks.append(before)
    measured.extra = turn.extra
    measured.summary = summarize([kept.samples for kept in measured.turns.values()])


def _finish(measured: Measured, policy: Policy, accept_noise: bool) -> None:
    """Turn a result that nobody should trust into a problem that says why."""
    lost = ", ".join(f"{count} for {reason}" for reason, count in measured.discarded.items()) or "none"
    kept, name = len(measured.turns), measured.name
    if kept < min(4, policy.least_turns) or measured.summary.samples < policy.least_samples:
        measured.problem = (
            f"{name}: the machine is too busy: {kept} turns kept in {measured.spent:.0f} s, discarded {lost}; "
            "wait until it is quiet, or raise --seconds"
        )
    elif accept_noise:
        return
    elif (wide := measured.summary.half_width) > policy.tolerable:
        measured.problem = (
            f"{name}: too noisy: the 95 % interval of the median reaches {wide:.0%} from it after {kept} turns "
            f"(discarded {lost}), {policy.tolerable:.0%} is allowed; wait until it is quiet, or raise --seconds"
        )
    elif (stolen := measured.load.share("steal")) > policy.steal or measured.load.share("foreign") > policy.foreign:
        measured.problem = (
            f"{name}: others used {measured.load.share('foreign'):.2f} CPUs and the host took {stolen:.2f} over the "
            "turns kept; wait until it is quiet"
        )
    if measured.problem is not None:
        measured.summary = None
