"""The command `spar-bench`. Exit codes: 0 done, 1 a row was refused, a check failed or something is slower, 2 bad input
or a thing that cannot be done here, 130 interrupted."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from spar_engine.errors import SparError


def parser() -> argparse.ArgumentParser:
    """Arguments of every subcommand."""
    from . import memory, oversubscribed, plot, refresh, selftest
    from .compare import run as compare
    from .components import run as components
    from .kernels import run as kernels
    from .machine import run as machine
    from .pipelines import run as pipeline
    from .quality.run import add_arguments, run_quality

    top = argparse.ArgumentParser(prog="spar-bench", description="Measure kernels, components and whole tasks.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for part in (machine, kernels, components, pipeline, oversubscribed, memory, compare, plot, refresh, selftest):
        part.add(commands)
    quality = commands.add_parser("quality", help="does a model draw and answer what it is asked?")
    add_arguments(quality)
    quality.set_defaults(run=run_quality)
    return top


def measuring(words: Sequence[str]) -> list[str]:
    """`words` without where results go and how loudly: a result remembers how it was measured, not a folder of here."""
    files = ("--json", "--csv", "--markdown", "--waterfall")
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word in files:
            next(left, None)
        elif word not in ("-q", "--quiet") and not word.startswith(tuple(f"{name}=" for name in files)):
            kept.append(word)
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    arguments.command_line = shlex.join(("spar-bench", *measuring(words)))
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("spar-bench: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except SparError as error:
        print(f"spar-bench {arguments.command}: {error}", file=sys.stderr)
        return 2
