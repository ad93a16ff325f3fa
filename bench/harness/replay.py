"""A measurement's noise, kept and played again: what the harness makes of it, without a clock of its own.

Two subjects do the same work in two processes, so that all between them is noise. Played again, one of them may be made
slower by a known share: verdicts can then be counted over many measurements of the default length, the same on every
machine (`tests/bench/test_recorded_noise.py`). `spar-bench selftest --record FILE` makes such a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .environment import environment
from .host import Load
from .measure import Player
from .subject import BenchError, Check
from .turn import Turn
from .yardstick import Yardstick, yardstick

KEPT = 16  # samples of a turn; more would not change its median much
LOADS = ("wall", "own", "foreign", "steal", "waiting")


def record_noise(players: list[Player], rounds: int, turn_seconds: float, most_samples: int = KEPT) -> dict[str, Any]:
    """Turns of two players in changing order, as plain values: of each its loads, yardstick and samples (ns)."""
    first, second = players
    for player in players:
        player.ready(turn_seconds, most_samples)
    turns: dict[str, list[list[Any]]] = {first.name: [], second.name: []}
    for number in range(rounds):
        for player in (first, second) if number % 2 else (second, first):
            pace = yardstick()
            turn = player.turn()
            loads = [round(getattr(turn.load, name), 5) for name in LOADS]
            paced = None if pace is None else [round(pace.compute, 8), round(pace.memory, 7)]
            turns[player.name].append([loads, turn.load.known, paced, [round(sample) for sample in turn.samples]])
    return {"environment": environment(), "turns": turns}


class Recording:
    """Some consecutive rounds of a file of `record_noise`; its clock goes with the turns that are played.

    first   round to begin with; rounds beyond the end are those of the beginning
    """

    def __init__(self, found: dict[str, Any], first: int = 0):
        self._turns, self._first, self._now = found["turns"], first, 0.0
        self._played = dict.fromkeys(self._turns, 0)
        self.rounds = min(map(len, self._turns.values()))

    @classmethod
    def read(cls, path: Path, first: int = 0) -> Recording:
        return cls(json.loads(path.read_text("utf-8")), first)

    def players(self, factor: float = 1.0) -> list[Player]:
        """Both subjects, the second `factor` times as slow as it was."""
        before, after = self._turns
        return [Replayed(self, before, 1.0), Replayed(self, after, factor)]

    def clock(self) -> float:
        return self._now

    def pace(self, name: str) -> Yardstick | None:
        """Of the subject's turn that comes next."""
        paced = self._next(name)[2]
        return None if paced is None else Yardstick(*paced)

    def play(self, name: str, factor: float) -> Turn:
        """The next turn of a subject."""
        loads, known, _, samples = self._next(name)
        self._played[name] += 1
        load = Load(**dict(zip(LOADS, loads, strict=True)), known=known)
        self._now += load.wall
        return Turn([factor * sample for sample in samples], load)

    def _next(self, name: str) -> list[Any]:
        number = self._played[name]
        if number >= self.rounds:
            raise BenchError(f"{name}: the recording has {self.rounds} rounds; record more")
        return self._turns[name][(self._first + number) % self.rounds]


class Replayed:
    """A subject whose turns were taken earlier."""

    def __init__(self, recording: Recording, name: str, factor: float):
        self.name, self._recording, self._factor = name, recording, factor

    def ready(self, turn_seconds: float, most_samples: int) -> Check | None:
        return None

    def turn(self) -> Turn:
        return self._recording.play(self.name, self._factor)
