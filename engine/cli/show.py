"""Progress bars on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress(label: str, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """A bar over sampler steps; yields the `on_step` to hand to the engine."""
    if quiet:
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def on_step(step: Any) -> None:
            bar.update(task, description=f"{label}, picture {step.image + 1}", total=step.total,
                       completed=step.index + 1)  # fmt: skip

        yield on_step


def report(found: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """Print `found` as JSON, or `lines` as text."""
    if as_json:
        json.dump(found, sys.stdout, indent=1, ensure_ascii=False, default=str)
        sys.stdout.write("\n")
    else:
        print("\n".join(lines))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, as wide as it needs."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(drawn)


def seconds(timings: dict[str, Any]) -> str:
    """One line: total, and each component's share."""
    parts = [f"{name} {entry['seconds']:.2f}" for name, entry in timings["components"].items()]
    return f"{timings['total']:.2f} s ({', '.join(parts)})"
