"""`spar-bench pipeline`: whole tasks on backends and peers, the same weights, interleaved."""

from __future__ import annotations

import argparse
import dataclasses
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
    subjects_of,
    threads_of,
)  # fmt: skip
from ..report.show import finish
from ..report.waterfall import terminal
from .subjects import import_seconds
from .tasks import TASKS, Setting

SEEDS = [0, 1]
KIND = "pipeline"


def add(commands: Any) -> None:
    parser = commands.add_parser(KIND, help="whole tasks on backends and peers, end to end")
    add_subjects(parser)
    parser.add_argument("--task", default="generate", help=f"{', '.join(TASKS)} (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="sampler steps (%(default)s)")
    parser.add_argument("--images", type=int, default=1, help="pictures of one prompt (%(default)s)")
    parser.add_argument("--prompt", type=int, default=60, help="characters of prompt or question (%(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="longest answer (%(default)s)")
    parser.add_argument(
        "--grow", metavar="AXIS=V1,V2", help="a growth curve over steps, images, prompt, tokens or threads"
    )
    parser.add_argument("--waterfall", metavar="FILE", help="draw the stages of each subject as a picture")
    add_measuring(parser, "pipeline")
    add_output(parser)
    parser.set_defaults(run=run)


def groups(arguments: argparse.Namespace) -> list[Group]:
    """What the arguments select."""
    axis, values = growth_of(arguments.grow)
    made = []
    for task in listed(arguments.task):
        setting = Setting(
            task=task, **{name: getattr(arguments, name) for name in ("steps", "images", "prompt", "tokens")}
        )
        if axis not in (None, "threads") and axis not in TASKS[task].axes:
            raise InputError(
                f"--grow: {task} does not depend on {axis!r}; it has {', '.join((*TASKS[task].axes, 'threads'))}"
            )
        for threads in values if axis == "threads" else threads_of(arguments.threads):
            for value in [None] if axis in (None, "threads") else values:
                grown = setting if value is None else dataclasses.replace(setting, **{axis: value})
                made.append(Group(KIND, arguments.preset, not arguments.trained, grown, threads, axis))
    return made


def run(arguments: argparse.Namespace) -> int:
    selected, policy = groups(arguments), policy_of(arguments)
    result = record.new_file(KIND, arguments.command_line, None)
    bar, advance = progress_bar(arguments.quiet, len(selected))
    with bar:
        importing = import_seconds()
        for number, group in enumerate(selected):
            reference = _reference(group.what(""))
            specs = {name: _spec(group.what(name), name, reference) for name in subjects_of(arguments)}
            done = earned(group, specs, policy, result["refused"], partial(advance, number),
                          accept_noise=arguments.accept_noise)  # fmt: skip
            result["rows"] += [_row(group, *each, importing) for each in done]
    for row in result["rows"]:
        print(terminal(row))
    if arguments.waterfall:
        from ..report.plots import waterfalls

        waterfalls(result["rows"], arguments.waterfall)
    return finish(result, arguments)


def _reference(what: dict[str, Any]) -> str:
    with Worker(threads=cpu()["cores"]) as worker:
        return worker.ask("call", module="spar_bench.pipelines.reference", function="prepare", arguments={
            "source": what["preset"], "random": what["random_weights"], "setting": _setting(what), "seeds": SEEDS,
        })["path"]  # fmt: skip


def _setting(what: dict[str, Any]) -> dict[str, Any]:
    return {name: what[name] for name in ("task", "steps", "images", "prompt", "tokens")}


def _spec(what: dict[str, Any], name: str, reference: str) -> dict[str, Any]:
    return {"kind": "pipeline", "name": name, "source": what["preset"], "random": what["random_weights"],
            "setting": _setting(what), "subject": what["subject"], "threads": what["threads"], "reference": reference,
            "seeds": SEEDS}  # fmt: skip


def spec_of(row: dict[str, Any], name: str, folder: str) -> dict[str, Any]:
    """What a worker needs to open the subject of a row of a result file; `folder` is for kinds that need one."""
    return _spec(row["what"], name, _reference(row["what"]))


def _row(group: Group, name: str, player: RemotePlayer, measured: Measured, importing: float) -> dict[str, Any]:
    seconds, stages = measured.summary.median * 1e-9, measured.extra.pop("stages")
    if group.work.task != "ask":
        measured.extra["images_per_s"] = {"value": group.work.images / seconds, "unit": "1/s"}
    measured.extra |= {
        "load_s": {"value": player.opening_s, "unit": "s"}, "import_s": {"value": importing, "unit": "s"},
        "peak_rss": {"value": player.worker.memory()["peak_rss"], "unit": "bytes"},
    }  # fmt: skip
    return group.row(name, measured, stages=stages)
