"""`spar-bench quality`: scores of a checkpoint that draws our world, as JSON and a contact sheet."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spar_engine

from . import evaluate
from .sheet import write_sheet

PARTS = ("judge", "draw", "edit", "ask", "reconstruct", "segment")
DEFAULT = "spar-nano"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default=DEFAULT, help="directory or preset (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=300, help="of each category and task (default: %(default)s)")
    parser.add_argument("--backend", default="auto", help="as in spar_engine.load (default: %(default)s)")
    parser.add_argument("--precision", default=None, help="as in spar_engine.load (default: the backend's)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts, scenes and noise (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
                        help=f"parts to run, of: {', '.join(PARTS)} (default: all)")  # fmt: skip
    parser.add_argument(
        "--json", type=Path, required=True, help="file for the scores; the contact sheet goes beside it"
    )


def run_quality(args: argparse.Namespace) -> int:
    """Scores a checkpoint and writes FILE and FILE with .png; 0 when done."""
    from tqdm import tqdm

    if args.samples < 1:
        raise SystemExit(f"spar-bench quality: --samples {args.samples} must be at least 1")

    def progress(what: str, number: int) -> Iterator[int]:
        return iter(tqdm(range(number), desc=what, leave=False))

    options = {} if args.precision is None else {"precision": args.precision}
    sheet, begin = evaluate.Sheet(), time.monotonic()
    result: dict[str, Any] = {}
    if "judge" in args.only:
        result["judge"] = evaluate.judge_accuracy(max(args.samples, 300), args.seed)
    with spar_engine.load(args.checkpoint, backend=args.backend, **options) as engine:
        common = engine, args.samples, args.seed, progress
        if "draw" in args.only:
            result["text_to_image"] = evaluate.drawing(*common, sheet)
        if "edit" in args.only:
            result["editing"] = evaluate.editing_(*common, sheet)
        if "ask" in args.only:
            result["understanding"] = evaluate.asking(*common)
        if "reconstruct" in args.only:
            result["reconstruction"] = evaluate.reconstruction(*common, sheet)
        if "segment" in args.only:
            result["segmentation"] = evaluate.segmentation(*common, sheet)
        about = {
            "model": engine.config.name,
            "backend": engine.about["backend"],
            "precision": engine.about["precision"],
        }
    result = {"about": about | {"samples": args.samples, "seed": args.seed, "steps": 20, "guidance": "default",
                                "machine": platform.processor() or platform.machine(),
                                "seconds": round(time.monotonic() - begin, 1)}} | result  # fmt: skip
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if sheet.rows:
        write_sheet(sheet, args.json.with_suffix(".png"))
    print(table(result))
    return 0


def table(result: dict[str, Any]) -> str:
    """Every score with its interval, one a line."""
    lines = []
    for part, scores in result.items():
        for name, score in scores.items() if part != "about" else ():
            lines.append(
                f"{part:15} {name:22} {score['value']:8.3f}  "
                f"[{score['low']:.3f}, {score['high']:.3f}]  n={score['samples']}"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spar_bench.quality", description=__doc__)
    add_arguments(parser)
    return run_quality(parser.parse_args(argv))
