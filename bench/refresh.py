"""`spar-bench refresh`: the three-minute subset, and docs/performance.md from all result files."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError
from spar_engine.runtime.assemble import DEFAULT

from .harness import record
from .report.page import PAGE, RESULTS, write_page


def add(commands: Any) -> None:
    parser = commands.add_parser("refresh", help="measure a three-minute subset and make docs/performance.md anew")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    parser.add_argument("--accept-noise", action="store_true", help="keep numbers of a busy machine")
    parser.add_argument("--seconds", type=float, help="time budget of one subject (default: the policy's)")
    parser.set_defaults(run=run)


# Of spar-1b one size of each op; the convolutions take seconds a call.
SIZES = ("4x288x896", "2x36x256x32", "512x1152x1152x0", "1x896x4864x0", "2x256x1152", "288x896", "288x14x2x64x1",
         "2x16x16x256x288x72", "2x16x16x2880")  # fmt: skip
SUBJECTS = ("ours-*", "native-a*", "torch-eager", "openvino")  # native-scalar is there to be right, not fast


def subset(accept_noise: bool, seconds: float | None = None) -> dict[str, list[str]]:
    """The commands of the subset, by the result file they refresh."""
    model = ["--preset", DEFAULT, "--trained"]
    common = ["--threads", "all", "--policy", "quick", *(["--accept-noise"] if accept_noise else []),
              *(["--seconds", f"{seconds:g}"] if seconds is not None else [])]  # fmt: skip
    return {
        "quick-kernels": ["kernels", "--shape", ",".join(SIZES), "--dtype", "bf16", "--variant", ",".join(SUBJECTS),
                          "--cache", "hot", *common],
        "quick-components": ["components", *model, "--component", "vision,prefill,decode,dit,decoder",
                             "--backend", "native,onnxruntime", "--precision", "fp32", *common],
        # A trained model may draw another picture in int8, and give any strange question one answer; `quality` judges.
        "quick-pipeline": ["pipeline", *model, "--task", "generate,reconstruct", "--backend", "native",
                           "--precision", "fp32,bf16", *common],
    }  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a part of the subset was refused; its former file then stays."""
    if not (RESULTS.parent / "__init__.py").exists() or not (RESULTS.parent.parent / "pyproject.toml").exists():
        raise ArtefactError(f"{RESULTS.parent}: refresh works on a checkout of the project; this is an installed copy")
    worst = 0 if arguments.page_only else _measure(arguments.accept_noise, arguments.seconds)
    plots = write_page()
    print(f"{PAGE.relative_to(PAGE.parent.parent)} and {len(plots)} plots are made from {RESULTS.name}/*.json")
    return worst


def _measure(accept_noise: bool, seconds: float | None) -> int:
    from .cli import main
    from .machine.store import load_machine

    if load_machine() is None:
        main(["machine", *(["--accept-noise"] if accept_noise else [])])
    worst = 0
    for name, words in subset(accept_noise, seconds).items():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made.json"
            code = main([*words, "--json", str(made)])
            refused = not made.exists() or json.loads(made.read_text())["refused"]
            if code == 0 and not refused:
                record.write(RESULTS / f"{name}.json", record.read(made))
            else:
                print(f"spar-bench refresh: {name} was not earned; its former file stays", file=sys.stderr)
                worst = max(worst, 1)
    return worst
