"""Counted fault trials: damage, kills, full disks, jumping clocks, failing workers. Nothing wrong may ever come back.

    python tests/faults/trials.py --flips 1200 --kills 120 --others 60 --json faults.json

Every trial ends as one of
    refused    an error of this package, before anything was used
    remade     the damaged file was noticed and made again; the result is right
    harmless   the result is right, the damage was where nothing is read
or is a failure: a wrong result, another error, a process that dies or hangs. Exit code 1 when there was any.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("packed", "digests", "manifest", "graph", "weights", "header", "kill", "disk", "clock", "worker")


def main() -> int:
    parser = argparse.ArgumentParser(description="Counted fault trials.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a small one: it is read anew in every trial")
    parser.add_argument("--artefacts", type=Path, help="made by spar-export onnx from it; without, graphs are left out")
    parser.add_argument("--flips", type=int, default=1200, help="bits flipped, over all kinds of file")
    parser.add_argument("--kills", type=int, default=120, help="processes killed while they write")
    parser.add_argument("--others", type=int, default=60, help="trials of full disk, clock and workers, each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the report there as well")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPAR_CACHE"] = f"{folder}/cache"
        report = run(arguments, Path(folder))
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0 if report["passed"] else 1


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from files import Flips
    from processes import clocks, disks, kills, workers

    rng = np.random.default_rng(arguments.seed)
    found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    failures: list[str] = []

    def count(kind: str, outcome: str) -> None:
        found[kind][outcome.split(":")[0]] += 1
        if outcome.startswith("failed"):
            failures.append(f"{kind}: {outcome}")

    kills(arguments.checkpoint, folder / "kills", arguments.kills, rng, count)  # these fork, before any thread starts
    disks(arguments.checkpoint, folder / "disk", arguments.others, rng, count)
    Flips(arguments.checkpoint, arguments.artefacts, folder / "flips", rng).run(arguments.flips, count)
    clocks(arguments.checkpoint, folder / "clock", arguments.others, rng, count)
    workers(arguments.checkpoint, arguments.others, rng, count)
    trials = {kind: {"trials": sum(counts.values()), **counts} for kind, counts in found.items() if counts}
    flips = sum(entry["trials"] for kind, entry in trials.items() if kind in KINDS[:6])
    return {"seed": arguments.seed, "flips": flips, "kinds": trials, "failures": failures[:20],
            "passed": not failures}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
