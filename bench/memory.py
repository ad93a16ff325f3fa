"""`spar-bench memory`: the most memory that a process holds while it draws a picture, beside its packed weights."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from .harness import record
from .harness.host import rss
from .harness.remote import Worker
from .harness.subject import BenchError
from .options import threads_of

LIMIT = 400.0
PROMPT = "a red boat on a calm blue lake under tall white clouds"
MB = 1_000_000


def add(commands: Any) -> None:
    parser = commands.add_parser("memory", help="the most memory of text to image, beside the weights")
    parser.add_argument("--preset", default="spar-1b", help="preset or checkpoint directory (%(default)s)")
    parser.add_argument("--trained", action="store_true", help="--preset is a checkpoint or a bundled model")
    parser.add_argument("--precision", default="bf16", help="of the native backend (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="sampler steps (%(default)s)")
    parser.add_argument("--threads", default="all", help="1, 2 ... or all (%(default)s)")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="MB",
                        help="beyond the weights; more is exit code 1 (%(default)g)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the result")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when drawing holds more than the limit beyond the weights."""
    threads = threads_of(arguments.threads)[-1]
    with Worker(threads=threads) as worker:
        found = worker.ask("call", module="spar_bench.memory", function="drawing", arguments={
            "source": arguments.preset, "random": not arguments.trained, "precision": arguments.precision,
            "steps": arguments.steps, "threads": threads,
        })  # fmt: skip
    found["beyond"] = found["peak"] - found["weights"] - found["table"]
    within = found["beyond"] <= arguments.limit * MB
    for name, value in found.items():
        print(f"{name:10} {value / MB:9.1f} MB  {MEANING[name]}")
    verdict = "within" if within else "ABOVE"
    print(f"{found['beyond'] / MB:.1f} MB beyond the weights, {verdict} {arguments.limit:g} MB")
    if arguments.json:
        result = record.new_file("memory", arguments.command_line, None)
        result["memory"] = {"bytes": found, "limit": arguments.limit * MB, "within": within}
        record.write(arguments.json, result)
    return 0 if within else 1


MEANING = {
    "weights": "packed weights of the components that were used",
    "table": "token embeddings, where they are not mapped from a file",
    "loading": "most while the first picture was drawn, loading and packing included",
    "peak": "most while the second picture was drawn",
    "idle": "after it",
    "beyond": "peak less weights and table",
}


def drawing(source: str, random: bool, precision: str, steps: int, threads: int) -> dict[str, int]:
    """Bytes of this process, by the names of MEANING; for a worker, whose memory holds nothing else."""
    import spar_engine

    options = {"backend": "native", "precision": precision, "threads": threads, "random_weights": random}
    with spar_engine.load(source, **options) as engine:
        engine.generate(PROMPT, seed=1, num_inference_steps=steps)
        loading = _most()
        _forget()
        engine.generate(PROMPT, seed=2, num_inference_steps=steps)
        peak = _most()
        plan = engine.plan("generate", PROMPT, num_inference_steps=steps)  # of what is loaded it knows the exact size
        weights = sum(need.weights for need in plan.components.values())
        table = 2 * engine.config.language.vocab_size * engine.config.language.width if random else 0
        return {"weights": weights, "table": table, "loading": loading, "peak": peak, "idle": rss()}


def _most() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10


def _forget() -> None:
    """Let the highest memory use count from now on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise BenchError(f"memory: the highest use cannot be told anew here ({error.strerror}); use Linux") from None
