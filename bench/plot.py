"""`spar-bench plot FILE.json`: the plots of a result file, without measuring anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .harness.record import read
from .report.plots import all_plots


def add(commands: Any) -> None:
    parser = commands.add_parser("plot", help="draw a result file: rooflines, bars, waterfalls, growth curves")
    parser.add_argument("file", metavar="FILE.json")
    parser.add_argument("-o", "--output", default=".", metavar="DIR", help="folder for the pictures (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    made = all_plots(read(arguments.file), Path(arguments.output), Path(arguments.file).stem)
    for path in made:
        print(path)
    if not made:
        print(f"{arguments.file} has no rows that can be drawn")
    return 0
