"""What an export tells while it runs: to nobody, or as bars on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from spar_engine.weights.checkpoint import COMPONENTS


class Quiet:
    """Says nothing; what a watcher of an export must have."""

    def waiting(self, holder: str) -> None:
        """Another process, with this id, is writing to the directory."""

    def fresh(self, name: str) -> None:
        """A component needs no work."""

    def begin(self, name: str, reasons: list[str]) -> None:
        """A component is being made, for these reasons."""

    def phase(self, what: str, total: int = 0) -> None:
        """What is being done to the component now; `total` bytes are going to be written."""

    def written(self, amount: int) -> None:
        """So many more bytes of weights were written."""

    def done(self, name: str, seconds: float) -> None:
        """The component is complete and listed."""


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of whole things, on standard error: call what it gives with (done, in all). Nothing without a terminal."""
    console = Console(stderr=True)
    with Progress(TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), console=console,
                  disable=not console.is_terminal, transient=True) as bars:  # fmt: skip
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class Bars(Quiet):
    """A line for each component, on standard error; without a terminal one line of text for each that is done."""

    def __init__(self):
        self.console = Console(stderr=True, highlight=False)
        self.width = max(map(len, COMPONENTS))
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.fields[name]}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"), DownloadColumn(), TimeElapsedColumn(), console=self.console,
            disable=not self.console.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def waiting(self, holder: str) -> None:
        self.console.print(f"another export (process {holder}) is writing there; waiting for it to end")

    def fresh(self, name: str) -> None:
        self.console.print(f"{name:<{self.width}}  fresh")

    def begin(self, name: str, reasons: list[str]) -> None:
        self.console.print(f"{name:<{self.width}}  to build: {'; '.join(reasons)}", style="dim")
        self._task = self._bars.add_task("", name=f"{name:<{self.width}}", what="", total=None)

    def phase(self, what: str, total: int = 0) -> None:
        self._bars.update(self._task, what=what, **({"total": total} if total else {}))

    def written(self, amount: int) -> None:
        self._bars.advance(self._task, amount)

    def done(self, name: str, seconds: float) -> None:
        task = self._bars.tasks[-1]
        self._bars.update(self._task, what="built", total=task.total or 1, completed=task.total or 1)
        if not self.console.is_terminal:
            self.console.print(f"{name:<{self.width}}  built in {seconds:.1f} s")
