"""The command `spar`: arguments in, pictures and answers out. Exit codes: 0 done, 1 a check failed, 2 bad input or a
thing that cannot be done here, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import Cancelled, SparError


def parser() -> argparse.ArgumentParser:
    """Arguments of every subcommand."""
    from . import doctor, info, serve, tasks

    top = argparse.ArgumentParser(prog="spar", description="Run SPAR-family unified multimodal models.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for part in (tasks, info, doctor, serve):
        part.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (KeyboardInterrupt, Cancelled):
        print("spar: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except SparError as error:
        print(f"spar {arguments.command}: {error}", file=sys.stderr)
        return 2
