"""`spar-bench pipeline`: whole tasks on backends and peers, the same weights, interleaved."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import InputError

from ..harness import record
from ..harness.environment import cpu
from ..harness.measure import Measured, measure
from ..harness.remote import RemotePlayer, Worker, close_all
from ..harness.subject import BenchError
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
from ..peers.backend import is_ours
from ..report.show import finish
from ..report.waterfall import terminal
from .subjects import import_seconds
from .tasks import TASKS, Setting

SEEDS = [0, 1]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows measured together."""

    model: str
    random: bool
    setting: Setting
    threads: int
    axis: str | None = None

    def identity(self, subject: str) -> str:
        sizes = ",".join(f"{name}={value}" for name, value in self.setting.used().items())
        return f"pipeline/{self.model}/{self.setting.task}/{sizes}/{subject}/t{self.threads}"

    def what(self, subject: str) -> dict[str, Any]:
        return {"preset": self.model, "random_weights": self.random, "task": self.setting.task,
                "size": self.setting.size(), **dataclasses.asdict(self.setting), "subject": subject,
                "precision": subject.rpartition("-")[2], "threads": self.threads, "ours": is_ours(subject)}  # fmt: skip

    def repro(self, subject: str) -> str:
        sizes = "".join(f" --{name} {value}" for name, value in self.setting.used().items())
        return (f"spar-bench pipeline --preset {self.model}{'' if self.random else ' --trained'} --task "
                f"{self.setting.task}{sizes} --subjects {subject} --threads {self.threads}")  # fmt: skip

    def growth(self) -> dict[str, Any] | None:
        if self.axis is None:
            return None
        value = self.threads if self.axis == "threads" else getattr(self.setting, self.axis)
        return {"axis": self.axis, "value": value}


def add(commands: Any) -> None:
    parser = commands.add_parser("pipeline", help="whole tasks on backends and peers, end to end")
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
                made.append(Group(arguments.preset, not arguments.trained, grown, threads, axis))
    return made


def run(arguments: argparse.Namespace) -> int:
    selected, policy = groups(arguments), policy_of(arguments)
    result = record.new_file("pipeline", arguments.command_line, None)
    bar, advance = progress_bar(arguments.quiet, len(selected))
    with bar:
        importing = import_seconds()
        for number, group in enumerate(selected):
            reference = _reference(group.what(""))
            players, workers = {}, {}
            for name in subjects_of(arguments):
                try:
                    workers[name] = Worker(threads=group.threads)
                    players[name] = workers[name].player(_spec(group.what(name), name, reference))
                except BenchError as error:
                    result["refused"].append(_refused(group, name, str(error)))
            done = measure(list(players.values()), policy, accept_noise=arguments.accept_noise,
                           progress=lambda name, share, number=number: advance(number, name, share))  # fmt: skip
            for name, player in players.items():
                _add(result, group, name, done[name], player, importing)
            close_all(list(workers.values()))
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


def _refused(group: Group, name: str, reason: str) -> dict[str, Any]:
    return record.refusal(group.identity(name), group.what(name), reason, group.repro(name))


def _add(result: Any, group: Group, name: str, measured: Measured, player: RemotePlayer, importing: float) -> None:
    if measured.problem is not None:
        result["refused"].append(_refused(group, name, measured.problem))
        return
    seconds, stages = measured.summary.median * 1e-9, measured.extra.pop("stages")
    if group.setting.task != "ask":
        measured.extra["images_per_s"] = {"value": group.setting.images / seconds, "unit": "1/s"}
    measured.extra |= {
        "load_s": {"value": player.opening_s, "unit": "s"}, "import_s": {"value": importing, "unit": "s"},
        "peak_rss": {"value": player.worker.memory()["peak_rss"], "unit": "bytes"},
    }  # fmt: skip
    more = {"growth": group.growth(), "stages": stages}
    result["rows"].append(record.row(group.identity(name), group.what(name), measured, group.repro(name), **more))
