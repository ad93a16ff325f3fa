"""Rows of one model that are measured together: what each is called, what it is of, and how to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from .harness import record
from .harness.measure import Measured, measure
from .harness.policy import Policy
from .harness.remote import RemotePlayer, Worker, close_all
from .harness.subject import BenchError
from .peers.backend import is_ours


class Asked(Protocol):
    """What a model is asked: a component at one size (`components.works`), or a task (`pipelines.tasks`)."""

    name: str

    def sizes_asked(self) -> dict[str, int]:
        """The numbers that tell one row from another."""

    def what(self) -> dict[str, Any]:
        """How a result file spells it out."""

    def options(self) -> str:
        """The command line that asks for it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured interleaved.

    kind  the subcommand, and the first word of every identity
    axis  of the growth curve that this is a point of
    """

    kind: str
    model: str
    random: bool
    work: Any  # an `Asked`
    threads: int
    axis: str | None = None

    def identity(self, subject: str) -> str:
        return f"{self.kind}/{self.model}/{self.work.name}/{self._sizes(',')}/{subject}/t{self.threads}"

    def what(self, subject: str) -> dict[str, Any]:
        return {"preset": self.model, "random_weights": self.random, **self.work.what(), "size": self._sizes(" "),
                "subject": subject, "precision": subject.rpartition("-")[2], "threads": self.threads,
                "ours": is_ours(subject)}  # fmt: skip

    def repro(self, subject: str) -> str:
        return (f"spar-bench {self.kind} --preset {self.model}{'' if self.random else ' --trained'} "
                f"{self.work.options()} --subjects {subject} --threads {self.threads}")  # fmt: skip

    def growth(self) -> dict[str, Any] | None:
        if self.axis is None:
            return None
        value = self.threads if self.axis == "threads" else self.work.sizes_asked().get(self.axis)
        return {"axis": self.axis, "value": value}

    def refusal(self, subject: str, reason: str) -> dict[str, Any]:
        """The entry of a row that was not earned."""
        return record.refusal(self.identity(subject), self.what(subject), reason, self.repro(subject))

    def row(self, subject: str, measured: Measured, **more: Any) -> dict[str, Any]:
        return record.row(self.identity(subject), self.what(subject), measured, self.repro(subject),
                          growth=self.growth(), **more)  # fmt: skip

    def _sizes(self, between: str) -> str:
        return between.join(f"{name}={value}" for name, value in self.work.sizes_asked().items())


def earned(
    group: Group, specs: dict[str, dict[str, Any]], policy: Policy, refused: list[dict[str, Any]],
    progress: Callable[[str, float], None], *, accept_noise: bool,
) -> Iterator[tuple[str, RemotePlayer, Measured]]:  # fmt: skip
    """Measure the subjects of a group, each in a worker of its own: those that earned a row, one after another.

    specs    what a worker needs to open each subject, by its name
    refused  takes the entries of the others
    """
    players: dict[str, RemotePlayer] = {}
    workers: list[Worker] = []
    try:
        for name, spec in specs.items():
            try:
                workers.append(Worker(threads=group.threads))
                players[name] = workers[-1].player(spec)
            except BenchError as error:
                refused.append(group.refusal(name, str(error)))
        done = measure(list(players.values()), policy, accept_noise=accept_noise, progress=progress)
        for name, player in players.items():
            if done[name].problem is None:
                yield name, player, done[name]
            else:
                refused.append(group.refusal(name, done[name].problem))
    finally:
        close_all(workers)
