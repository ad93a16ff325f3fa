"""`spar-bench components`: each component of a model on backends and peers, the same weights, interleaved."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from spar_engine.errors import InputError

from ..group import Group, earned
from ..harness import record
from ..harness.environment import cpu
from ..harness.measure import Measured
from ..harness.remote import RemotePlayer, Worker
from ..options import (
    add_measuring,
    add_output,
    add_subjects,
    growth_of,
    listed,
    policy_of,
    progress_bar,
    roofs_or_warn,
    subjects_of,
    threads_of,
)  # fmt: skip
from ..report.show import finish
from .works import work_named, works

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "int4": 1}
FOUR_BITS = 0.5 + 2 / 32  # with the scale of 32 weights
ROOF = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "int8", "int4": "int4"}
SEEDS = [0, 1]
KIND = "components"


def add(commands: Any) -> None:
    parser = commands.add_parser(KIND, help="components of a model on backends and peers")
    add_subjects(parser)
    parser.add_argument("--component", help="vision, prefill, decode, dit, decoder ... (default: all)")
    parser.add_argument("--sizes", help="other sizes, e.g. tokens=546 or height=32,width=32")
    parser.add_argument("--grow", metavar="AXIS=V1,V2", help="a growth curve: side=8,16,32, tokens=..., batch=..., "
                        "branch=..., steps=..., past=... or threads=1,2")  # fmt: skip
    add_measuring(parser, "slow")
    add_output(parser)
    parser.set_defaults(run=run)


def groups(arguments: argparse.Namespace) -> list[Group]:
    """What the arguments select."""
    from spar_engine.runtime.assemble import open_weights

    config = open_weights(arguments.preset, random_weights=not arguments.trained).config
    axis, values = growth_of(arguments.grow)
    sizes = _sizes(arguments.sizes)
    made = []
    for name in listed(arguments.component) or list(works(config)):
        for threads in values if axis == "threads" else threads_of(arguments.threads):
            for value in [None] if axis in (None, "threads") else values:
                grown = {} if value is None else _grown(axis, value)
                work = work_named(config, name, **sizes | grown)
                shown = axis if axis != "side" else "height"
                made.append(Group(KIND, arguments.preset, not arguments.trained, work, threads, shown))
    return made


def _sizes(text: str | None) -> dict[str, int]:
    found = {}
    for word in listed(text):
        axis, _, value = word.partition("=")
        if not value.isdigit():
            raise InputError(f"--sizes: {word!r} is not AXIS=NUMBER")
        found[axis] = int(value)
    return found


def _grown(axis: str, value: int) -> dict[str, int]:
    return {"height": value, "width": value} if axis == "side" else {axis: value}


def run(arguments: argparse.Namespace) -> int:
    selected, policy, roofs = groups(arguments), policy_of(arguments), roofs_or_warn()
    result = record.new_file(KIND, arguments.command_line, roofs and roofs.record)
    bar, advance = progress_bar(arguments.quiet, len(selected))
    with bar:
        for number, group in enumerate(selected):
            reference = reference_of(group.what(""))
            specs = {name: subject_spec(group.what(name), name, reference["path"]) for name in subjects_of(arguments)}
            done = earned(group, specs, policy, result["refused"], partial(advance, number),
                          accept_noise=arguments.accept_noise)  # fmt: skip
            result["rows"] += [_row(group, *each, reference, roofs) for each in done]
    return finish(result, arguments)


def reference_of(what: dict[str, Any]) -> dict[str, Any]:
    """The float64 reference and the counts, made in a worker of its own when they are not kept yet."""
    with Worker(threads=cpu()["cores"]) as worker:
        return worker.ask("call", module="spar_bench.components.reference", function="prepare", arguments={
            "source": what["preset"], "random": what["random_weights"], "name": what["component"],
            "sizes": what["sizes"], "seeds": SEEDS,
        })  # fmt: skip


def subject_spec(what: dict[str, Any], name: str, reference: str) -> dict[str, Any]:
    return {"kind": "component", "name": name, "source": what["preset"], "random": what["random_weights"],
            "work": what["component"], "sizes": what["sizes"], "subject": what["subject"],
            "threads": what["threads"], "reference": reference, "seeds": SEEDS}  # fmt: skip


def spec_of(row: dict[str, Any], name: str, folder: str) -> dict[str, Any]:
    """What a worker needs to open the subject of a row of a result file; `folder` is for kinds that need one."""
    return subject_spec(row["what"], name, reference_of(row["what"])["path"])


def moved_bytes(precision: str, component: str, counts: dict[str, float]) -> float:
    """Weights and what travels once, in the precision's type; the seam's own arrays are small beside them.

    What travels is bf16 where weights are smaller; of int4 the language model and its head have 4 bits."""
    four = precision == "int4" and component in ("language", "lm_head")
    each = FOUR_BITS if four else BYTES[precision]
    return each * counts["parameters"] + max(BYTES[precision], 2) * counts["travels"]


def _row(group: Group, name: str, player: RemotePlayer, measured: Measured, counts: Any, roofs: Any) -> dict[str, Any]:
    precision, seconds = name.rpartition("-")[2], measured.summary.median * 1e-9
    moved = moved_bytes(precision, group.work.component, counts)
    work = {"bytes": moved, "flops": counts["flops"], "bytes_per_s": moved / seconds,
            "flops_per_s": counts["flops"] / seconds, "intensity": counts["flops"] / moved}  # fmt: skip
    roof = roofs and roofs.share(counts["flops"], moved, ROOF[precision], group.threads, cold=False, seconds=seconds)
    measured.extra |= {
        "per_second": {"value": 1 / seconds, "unit": "1/s"}, "load_s": {"value": player.opening_s, "unit": "s"},
        "peak_rss": {"value": player.worker.memory()["peak_rss"], "unit": "bytes"},
    }  # fmt: skip
    calls = group.work.calls
    image = {"calls": calls, "seconds": calls * seconds, "share": None} if calls else None
    return group.row(name, measured, work=work, roof=roof, image=image)
