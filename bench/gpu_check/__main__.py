"""python -m spar_bench.gpu_check --json OUT: all stages, one result file, a table; exit code 1 where one fails."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from ..harness import record
from . import speed
from .stages import GPU, Stage, line, run_stages

BUDGET = 470.0  # seconds of all stages together: below eight minutes with what starts and ends them


def stages(python: str = sys.executable) -> list[Stage]:
    """All stages, what must be known first before what is only nice to know."""

    def module(name: str, *arguments: str) -> tuple[str, ...]:
        return (python, "-m", f"spar_bench.gpu_check.{name}", *arguments)

    torch, gpu = "module:torch", GPU
    # Without torch's own pool every array is an allocation that the sanitizer knows the ends of.
    tool = sanitizer_program()
    sanitizer = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", tool, "--error-exitcode", "9", "--target-processes", "all",
                 "--tool")  # fmt: skip
    return [
        Stage("machine", module("machine"), 80),
        Stage("build", module("build"), 100, (torch, gpu)),
        Stage("kernels", module("ops"), 75, (torch, gpu)),
        Stage("parity", module("parity", "--large"), 90, (torch, gpu)),
        Stage("speed-picture", module("speed", "picture"), 80, (torch, gpu)),
        Stage("speed-kernels", module("speed", "kernels"), 60, (torch, gpu)),
        *(Stage(f"peer-{name}", module("speed", name), 40, (torch, gpu)) for name in speed.PEERS[:2]),
        Stage("speed-parts", module("speed", "components"), 40, (torch, gpu)),
        Stage("tests", module("suite"), 40, (torch, gpu, "module:pytest")),
        Stage("memcheck", (*sanitizer, "memcheck", *module("ops", "--few")), 50, (torch, gpu, tool)),
        Stage("racecheck", (*sanitizer, "racecheck", *module("ops", "--few")), 50, (torch, gpu, tool)),
        Stage("tensorrt-rtx", module("engines", "rtx"), 90, (torch, gpu, "module:tensorrt_rtx")),
        Stage("tensorrt", module("engines", "tensorrt"), 120, (torch, gpu, "module:tensorrt")),
        Stage("onnxruntime-cuda", module("engines", "onnxruntime"), 60, (torch, gpu, "module:onnxruntime")),
        Stage(f"peer-{speed.PEERS[2]}", module("speed", speed.PEERS[2]), 150, (torch, gpu)),
    ]


def sanitizer_program() -> str:
    """compute-sanitizer, which toolkits put beside nvcc or into a folder of its own, often not on the path."""
    name = "compute-sanitizer"
    places = [name, *(f"/usr/local/cuda/{folder}/{name}" for folder in ("bin", name))]
    return next((place for place in places if shutil.which(place)), name)


def main(argv: list[str] | None = None) -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m spar_bench.gpu_check", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="result file")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these stages alone")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of all stages together (%(default)s)")
    arguments = parser.parse_args(argv)
    every = stages()
    known = [stage.name for stage in every]
    if unknown := set(arguments.only or ()) - set(known):
        parser.error(f"--only: {', '.join(sorted(unknown))} is unknown; there are {', '.join(known)}")
    chosen = [stage for stage in every if arguments.only is None or stage.name in arguments.only]
    result = record.new_file("gpu-check", f"python -m spar_bench.gpu_check --json {arguments.json.name}", None)

    def write(done: list[dict]) -> None:
        """After every stage: what was found is there even if the machine is taken away."""
        aside = arguments.json.with_name(f".{arguments.json.name}.new")
        aside.write_text(json.dumps(result | {"stages": done}, indent=1) + "\n", "utf-8")
        aside.replace(arguments.json)

    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result["stages"] = run_stages(chosen, arguments.budget, Path(folder), after=write)
    print(table(result["stages"]))
    return int(any(stage["status"] in ("failed", "timed out") for stage in result["stages"]))


def table(done: list[dict]) -> str:
    """Stages, then every time beside the first of its group, then what is wrong."""
    lines = ["", *(line(stage) for stage in done), ""]
    rows = [row for stage in done for row in stage["rows"]]
    copy = next((row["roofs"]["copy_bytes_per_s"] for row in rows if row.get("roofs")), None)
    best = {}
    for row in rows:
        if "ms" in row:
            best.setdefault(row["name"].split()[0], row["ms"])
            ratio = row["ms"] / best[row["name"].split()[0]]
            more = f"  {100 * row['of_floor']:.0f} % of the floor" if row.get("of_floor") else ""
            if copy and "@large" in row["name"] and "gb_per_s" in row:
                more = f"  {100e9 * row['gb_per_s'] / copy:.0f} % of copying"
            lines.append(f"  {row['name']:<44} {row['ms']:10.4f} ms  {ratio:6.2f} x{more}")
    lines += [f"  wrong: {row['name']}: {row.get('error', 'see its row')}" for row in rows if row.get("ok") is False]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
