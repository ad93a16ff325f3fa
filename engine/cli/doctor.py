"""`spar doctor`: prove that a backend computes the model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..doctor.compare import Row
from ..errors import InputError
from ..runtime.assemble import DEFAULT, open_weights
from .options import add_backend
from .show import table


def add(commands: Any) -> None:
    """Add `spar doctor`."""
    text = "compare a backend with golden vectors, or with the torch oracle"
    parser = commands.add_parser("doctor", help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT, help="checkpoint directory, bundled model or preset")
    add_backend(parser)
    parser.add_argument("--random-weights", action="store_true", help="random weights of a preset")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="directory of golden vectors with tolerances.json")
    parser.add_argument("--only", action="append", metavar="NAME", help="a golden file, or a component; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row there")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every tensor, not only the failing ones")


def run(arguments: argparse.Namespace) -> int:
    from ..backends.choose import open_backend, resolve

    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise InputError(f"{arguments.json}: its directory does not exist; create it first")
    name, reason = resolve(arguments.backend)
    options = {} if arguments.threads is None else {"threads": arguments.threads}
    if arguments.precision != "auto":
        options["precision"] = arguments.precision
    if arguments.plans is not None:
        options["plans"] = arguments.plans

    def weights(position: str | None) -> Any:
        return open_weights(arguments.checkpoint, random_weights=arguments.random_weights, dit_position=position,
                            lora=arguments.lora)  # fmt: skip

    def backend(of: Any) -> Any:
        return open_backend(name, of, **options)

    precision = backend(weights(arguments.dit_position)).precision
    print(f"backend {name} ({reason}), {precision}, {arguments.checkpoint}", file=sys.stderr)
    make = _golden if arguments.golden is not None else _oracle
    rows = []
    for row in make(arguments, weights, backend, precision):
        rows.append(row)
        if sys.stderr.isatty():
            print(f"\r\x1b[K{len(rows)} {row.file} {row.tensor}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return _conclude(arguments, name, precision, rows)


def _golden(arguments: argparse.Namespace, weights: Any, backend: Any, precision: str) -> Any:
    from ..doctor.golden import examine, subject_for

    if arguments.dit_position is not None:
        raise InputError("--dit-position has no effect with --golden, which looks at both tables; leave it out")
    oracle = None
    if precision not in ("fp32", "fp64"):
        from ..backends.torch import TorchBackend

        oracle = subject_for(weights, lambda of: TorchBackend(of, precision="bf16"))
    return examine(arguments.golden, arguments.only, subject_for(weights, backend), oracle)


def _oracle(arguments: argparse.Namespace, weights: Any, backend: Any, precision: str) -> Any:
    from ..doctor.oracle import examine_components

    found = weights(arguments.dit_position)
    return examine_components(backend(found), found, precision, arguments.only)


def _conclude(arguments: argparse.Namespace, backend: str, precision: str, rows: list[Row]) -> int:
    failed = [row for row in rows if not row.passed]
    if arguments.json is not None:
        found = {
            "checkpoint": str(arguments.checkpoint), "golden": arguments.golden and str(arguments.golden),
            "backend": backend, "precision": precision, "tensors": len(rows), "failed": len(failed),
            "rows": [row.as_dict() for row in rows],
        }  # fmt: skip
        try:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise InputError(f"{arguments.json}: cannot be written: {error.strerror}") from None
    shown = rows if arguments.verbose else failed
    if shown:
        table("", ["tensor", "result", "error", "tolerance", "measure", "detail"], [_cells(row) for row in shown])
    if not rows:
        print("no tensor was compared; --only named nothing that runs here")
        return 1
    worst = max((row for row in rows if row.passed and row.tolerance), key=_share, default=None)
    closest = f"; closest to its tolerance: {worst.file} {worst.tensor} at {_share(worst):.0%}" if worst else ""
    print(f"{len(rows)} tensors, {len(failed)} failed{closest}")
    if failed:
        print(f"first bad one: {failed[0].file} {failed[0].tensor}")
    return 1 if failed else 0


def _share(row: Row) -> float:
    return (row.error or 0.0) / row.tolerance if row.tolerance else 0.0


def _cells(row: Row) -> list[str]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    return [f"{row.file} {row.tensor}", "ok" if row.passed else "FAILED", number(row.error), number(row.tolerance),
            row.measure, row.detail]  # fmt: skip
