"""`spar-export tensorrt`: arguments, and what is printed at the end."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spar_engine.errors import InputError

if TYPE_CHECKING:
    from .building import BuiltPlan


def add(command: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    command.add_argument("source", help="checkpoint directory; with --random-weights a preset, or a model as JSON")
    command.add_argument("out", help="directory of plans to write to")
    command.add_argument("--flavour", default="rtx", help="rtx (PC GPUs, built ahead of time on any machine; the "
                         "default) or tensorrt (built on the machine with the GPU)")  # fmt: skip
    command.add_argument("--precision", default="bf16", help="bf16 (default), fp16, or fp8: bf16, the products of "
                         "the DiT's blocks in e4m3")  # fmt: skip
    command.add_argument("--gpu", metavar="sm86,sm89", help="GPUs to run on (default: all that the flavour knows)")
    command.add_argument("--components", metavar="A,B", help="only these (default: all)")
    command.add_argument("--buckets", metavar="288,352", help="largest prompt, in tokens, of each optimization profile")
    command.add_argument("--dynamic", action="store_true", help="also pictures of other sizes than the usual one")
    command.add_argument("--strip", action="store_true", help="plans without weights, put in when they are loaded")
    command.add_argument("--cut", action="store_true", help="two plans where our kernel can take the operator between "
                         "them (rtx; takes spar_engine._cuda where they run)")  # fmt: skip
    command.add_argument("--taps", action="store_true", help="also plans that show their inner tensors, for "
                         "`spar doctor`")  # fmt: skip
    command.add_argument("--threads", type=int, metavar="N", help="of the builder (default: the processors)")
    command.add_argument("--lora", action="append", default=[], metavar="FILE[:SCALE]",
                         help="merge a LoRA file into the weights; repeatable")  # fmt: skip
    command.add_argument("--random-weights", action="store_true", help="random weights, to measure speed")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (0)")
    command.add_argument("--report", type=Path, metavar="FILE", help="write time, size and peak memory as JSON there")
    command.add_argument("-q", "--quiet", action="store_true", help="no progress")
    command.set_defaults(run=run)
    from ..cli import add_common

    add_common(command)


def run(arguments: argparse.Namespace) -> int:
    from spar_engine.weights.lora import with_loras

    from ..cli import need, open_source, print_json
    from .plans import export_plans
    from .report import report
    from .settings import settings_of
    from .watch import PlanBars, PlanQuiet

    need("onnx")
    if arguments.threads is not None and arguments.threads < 1:
        raise InputError(f"--threads {arguments.threads}: must be at least 1")
    if arguments.report is not None and not arguments.report.parent.is_dir():
        raise InputError(f"--report {arguments.report}: its directory does not exist; create it first")
    weights = open_source(arguments.source, arguments.random_weights, arguments.seed, arguments.dit_position)
    weights = with_loras(weights, arguments.lora)
    settings = settings_of(
        arguments.flavour, arguments.precision, arguments.gpu, arguments.buckets, arguments.dynamic, arguments.strip,
        weights.config.language.max_positions, arguments.cut,
    )  # fmt: skip
    only = None if arguments.components is None else [name.strip() for name in arguments.components.split(",")]
    start = time.perf_counter()
    options = {"only": only, "threads": arguments.threads, "taps": arguments.taps}
    if arguments.quiet:
        built = export_plans(weights, arguments.out, settings, progress=PlanQuiet(), **options)
    else:
        with PlanBars() as bars:
            built = export_plans(weights, arguments.out, settings, progress=bars, **options)
    found = report(arguments.source, arguments.out, settings, built, time.perf_counter() - start)
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.json:
        print_json(found)
    else:
        _tell(arguments.out, built)
    return 0


def _tell(out: str, built: list[BuiltPlan]) -> None:
    """A line for each component, and one for all."""
    made = [item for item in built if item.reasons]
    for item in made:
        print(f"{item.name:<10}  {item.seconds:7.1f} s  {item.bytes / 1e6:9.1f} MB  peak {item.memory / 1e9:5.2f} GB  "
              f"{item.layers:5d} layers  {item.operators}")  # fmt: skip
    print(f"{out}: {len(made)} built, {len(built) - len(made)} fresh"
          + (f", {sum(item.bytes for item in made) / 1e6:.1f} MB in {sum(item.seconds for item in made):.1f} s"
             if made else ""))  # fmt: skip
