"""What a build of plans tells while it runs."""

from __future__ import annotations

from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..progress import Bars, Quiet


class PlanQuiet(Quiet):
    """Says nothing; what a watcher of a build must have."""

    def steps(self, phases: list[list[Any]]) -> None:
        """Phases of the builder: [name, steps done, steps in all], innermost last."""

    def note(self, name: str, text: str) -> None:
        """Something about a component that a user should know."""


class PlanBars(Bars, PlanQuiet):
    """A line for each component, with the share that is done and an estimate of the time left."""

    def __init__(self):
        super().__init__()
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.fields[name]}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"), TimeElapsedColumn(), TimeRemainingColumn(compact=True),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip

    def steps(self, phases: list[list[Any]]) -> None:
        done = share(phases)
        if done is not None:
            self._bars.update(self._task, what=phases[-1][0][:40], completed=done, total=1.0)

    def note(self, name: str, text: str) -> None:
        self.console.print(f"{name:<{self.width}}  {text}", style="dim")


def share(phases: list[list[Any]]) -> float | None:
    """How much of the outermost phase is done, its current step counted by the phase within; None before the first."""
    done, weight = 0.0, 1.0
    for _, steps, total in phases:
        if total <= 0:
            break
        done += weight * min(steps, total) / total
        weight /= total
    return min(done, 1.0) if phases else None
