"""`spar-bench machine`: the roofs of this machine, measured once and kept."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..harness import record
from ..report.show import show_table
from . import store


def add(commands: Any) -> None:
    parser = commands.add_parser("machine", help="the roofs of this machine: bandwidths, peaks, and second opinions")
    parser.add_argument("--again", action="store_true", help="measure even if this machine is known")
    parser.add_argument("--runs", type=int, default=25, help="runs of every probe (%(default)s)")
    parser.add_argument("--accept-noise", action="store_true", help="keep roofs taken while others worked")
    parser.add_argument("--json", metavar="FILE", help="write the result file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when the roofs are doubtful; they are then kept only with --accept-noise."""
    known = None if arguments.again else store.load_machine()
    found = known or store.measure_machine(max(3, arguments.runs))
    show(found)
    for problem in found["disturbed"]:
        print(f"disturbed: {problem}", file=sys.stderr)
    doubtful = bool(found["disturbed"])
    if known is None and (not doubtful or arguments.accept_noise):
        print(f"kept in {store.save_machine(found)}", file=sys.stderr)
    elif known is None:
        print("not kept: the machine was disturbed; wait until it is quiet, or use --accept-noise", file=sys.stderr)
    if arguments.json:
        result = record.new_file("machine", arguments.command_line, found)
        record.write(arguments.json, result)
    return 1 if doubtful and not arguments.accept_noise else 0


def show(found: dict[str, Any]) -> None:
    """Peaks and bandwidths with one column for each thread count, then the second opinions."""
    counts = sorted({row["threads"] for row in found["peaks"]})
    header = ["roof", *(f"{count} threads" for count in counts)]
    lines: dict[str, dict[int, str]] = {}
    for row in found["peaks"]:
        lines.setdefault(f"{row['isa']} {row['dtype']}", {})[row["threads"]] = _giga(row["operations_per_s"], "OP/s")
    for row in found["streams"]:
        name = f"{row['level']} {row['pass'].replace('_', ' ')}"
        lines.setdefault(name, {})[row["threads"]] = _giga(row["bytes_per_s"], "B/s")
    show_table(header, [[name, *(cells.get(count, "") for count in counts)] for name, cells in lines.items()])
    if found["gpu"]:
        gpu = found["gpu"]
        show_table([gpu["name"], ""], [
            ["copy", _giga(gpu["copy_bytes_per_s"], "B/s")],
            *([f"{name} products", _giga(rate, "OP/s")] for name, rate in gpu["peaks"].items()),
            ["launch", f"{gpu['launch_s'] * 1e6:.2f} us"],
            ["launch in a graph", f"{gpu['graph_launch_s'] * 1e6:.2f} us"],
        ])  # fmt: skip
    show_table(["second opinion", "of ours", "agrees"],
               [[check["what"], f"{check['ratio']:.2f}", "yes" if check["agrees"] else "NO"]
                for check in found["checks"]])  # fmt: skip


def _giga(value: float, unit: str) -> str:
    return f"{value * 1e-9:.1f} G{unit}"
