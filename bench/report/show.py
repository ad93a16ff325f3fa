"""The end of every measuring subcommand: files written, a table shown, refusals said aloud."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError

from ..harness import record
from .table import comma_separated, markdown, table


def write_text(path: str, text: str, option: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written: {error.strerror}; choose another {option}") from None


def show_table(header: list[str], cells: list[list[str]]) -> None:
    """On a terminal as wide as it takes; as markdown elsewhere."""
    if not sys.stdout.isatty():
        print(markdown(header, cells), end="")
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(*header, pad_edge=False)
    for line in cells:
        shown.add_row(*line)
    console = Console()
    console.print(shown, no_wrap=True, soft_wrap=True)


def finish(result: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Write what was asked for and show the rest; exit code 1 when a row was refused."""
    if arguments.json:
        record.write(arguments.json, result)
    header, cells = table(result["kind"], result["rows"])
    if arguments.csv:
        write_text(arguments.csv, comma_separated(result["rows"]), "--csv")
    if arguments.markdown:
        write_text(arguments.markdown, markdown(header, cells), "--markdown")
    if cells:
        show_table(header, cells)
    for refused in result["refused"]:
        print(f"REFUSED {refused['id']}: {refused['reason']}\n  repeat: {refused['repro']}", file=sys.stderr)
    if result["refused"]:
        print(
            f"{len(result['refused'])} of {len(result['refused']) + len(result['rows'])} rows refused", file=sys.stderr
        )
    return 1 if result["refused"] else 0
