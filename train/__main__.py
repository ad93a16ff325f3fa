"""python -m spar_train all --out RUN --budget-minutes N, or one stage by name; `export` and `plot` read a run."""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    from .lab import ABLATIONS
    from .stages import STAGES

    top = argparse.ArgumentParser(prog="python -m spar_train", description="Train spar-nano.")
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("all", *STAGES):
        words = "every stage that is not finished" if name == "all" else f"stage {name}"
        command = commands.add_parser(name, help=words)
        command.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run goes on")
        command.add_argument("--budget-minutes", type=float, required=True,
                             help="processor time of the training thread; `all` divides it")  # fmt: skip
        command.add_argument("--threads", type=int, default=1, help="of torch in each process (default %(default)s)")
        command.add_argument(
            "--processes",
            type=int,
            default=1,
            help="that share the work (default %(default)s); two of one thread each outrun one of two",
        )
        command.add_argument("--without", choices=ABLATIONS, default=None, help="leave out one idea")
    for name, words in (("export", "write the checkpoint of a run"), ("plot", "draw the loss curves of a run")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--run", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
        if name == "export":
            command.add_argument(
                "--before", choices=STAGES, default=None, help="leave out this stage and those after it"
            )
    return top


def train(args: argparse.Namespace) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from . import ranks, recipe

    ranks.run(args.processes, functools.partial(recipe.stages, args))


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.command == "export":
        from .export import export

        export(args.run, args.out, args.before)
    elif args.command == "plot":
        from .plot import plot

        plot(args.run, args.out)
    else:
        train(args)


if __name__ == "__main__":
    main()
