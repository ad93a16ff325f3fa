"""`spar-bench kernels`: every op, every variant and every peer, at the sizes of the presets."""

from __future__ import annotations

import argparse
import fnmatch
import tempfile
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import InputError

from ..harness import record
from ..harness.measure import Measured, measure
from ..harness.remote import RemotePlayer, Worker, close_all
from ..harness.subject import BenchError
from ..options import add_measuring, add_output, listed, policy_of, progress_bar, roofs_or_warn, threads_of
from ..peers.base import ALL, peer
from ..report.image import image_seconds
from ..report.show import finish
from .case import Shape, Work, case, cases
from .subjects import CALLED, NATIVE, OURS

PRECISION = {"f32": "fp32", "bf16": "bf16", "int8": "int8", "int4": "int4"}
TOO_GOOD = 1.15  # of a roof: probes agree within 15 %, so more than that is a mistake


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together, interleaved."""

    work: Work
    threads: int
    cold: bool

    def name(self) -> str:
        sizes = "x".join(map(str, self.work.shape.sizes))
        return f"{self.work.case.op}/{sizes}/{self.work.dtype}"

    def identity(self, subject: str) -> str:
        return f"kernels/{self.name()}/{subject}/t{self.threads}/{'cold' if self.cold else 'hot'}"

    def what(self, subject: str) -> dict[str, Any]:
        work = self.work
        return {
            "op": work.case.op, "preset": work.shape.preset, "sizes": work.case.sizes(work.shape), "dtype": work.dtype,
            "subject": subject, "threads": self.threads, "cache": "cold" if self.cold else "hot",
        }  # fmt: skip

    def repro(self, subject: str) -> str:
        sizes = "x".join(map(str, self.work.shape.sizes))
        return (f"spar-bench kernels --op {self.work.case.op} --shape {sizes} --dtype {self.work.dtype} "
                f"--variant {subject} --threads {self.threads} --cache {'cold' if self.cold else 'hot'}")  # fmt: skip


def add(commands: Any) -> None:
    parser = commands.add_parser("kernels", help="single ops: every variant beside the peers")
    parser.add_argument("--op", help="ops, comma-separated (default: all)")
    parser.add_argument("--shape", help="presets, `large`, or sizes such as 4x288x896 (default: all)")
    parser.add_argument("--dtype", help="f32, bf16, int8, int4 (default: all of the op)")
    parser.add_argument(
        "--variant", help="subjects to keep, with wildcards: ours-*, native-*, torch-*, ... (default: all)"
    )
    parser.add_argument("--peers", default="all", help="peers beside ours, `all` that are installed, or none")
    parser.add_argument("--cache", default="hot,cold", help="hot, cold or both (%(default)s)")
    add_measuring(parser, "kernels")
    add_output(parser)
    parser.set_defaults(run=run)


def groups(arguments: argparse.Namespace) -> list[Group]:
    """What the arguments select; a selection that is empty is an InputError."""
    ops = listed(arguments.op) or sorted(cases())
    found, known = [], set()
    counts, caches = threads_of(arguments.threads), _caches(arguments.cache)
    for op in ops:
        each = case(op)
        for shape in each.all_shapes():
            known |= {shape.preset, "x".join(map(str, shape.sizes))}
            if not _wanted(shape, listed(arguments.shape)):
                continue
            for dtype in shape.dtypes or each.dtypes:
                if dtype in (listed(arguments.dtype) or PRECISION):
                    work = Work(each, shape, dtype)
                    found += [Group(work, threads, word == "cold") for threads in counts for word in caches]
    if not found:
        raise InputError(f"no row has --shape {arguments.shape} and --dtype {arguments.dtype}; shapes are "
                         f"{', '.join(sorted(known))}, dtypes {', '.join(PRECISION)}")  # fmt: skip
    return found


def _wanted(shape: Shape, asked: list[str]) -> bool:
    return not asked or shape.preset in asked or "x".join(map(str, shape.sizes)) in asked


def _caches(text: str) -> list[str]:
    for word in listed(text):
        if word not in ("hot", "cold"):
            raise InputError(f"--cache: {word!r} is unknown; use hot, cold or hot,cold")
    return listed(text)


def subjects(group: Group, arguments: argparse.Namespace) -> list[str]:
    """Names of what is measured in a group."""
    case = group.work.case
    names = [CALLED + variant for variant in case.variants()] + [NATIVE + isa for isa in case.isas()]
    if arguments.peers == "all":
        chosen = [each for each in ALL if each.kernels and not each.missing()]
    else:
        chosen = [peer(name) for name in listed(arguments.peers) if name != "none"]
    names += [each.name for each in chosen if PRECISION[group.work.dtype] in each.precisions]
    patterns = listed(arguments.variant) or ["*"]
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def run(arguments: argparse.Namespace) -> int:
    selected, policy, roofs = groups(arguments), policy_of(arguments), roofs_or_warn()
    result = record.new_file("kernels", arguments.command_line, roofs and roofs.record)
    bar, advance = progress_bar(arguments.quiet, len(selected))
    with bar, tempfile.TemporaryDirectory() as references, Workers() as workers:
        for number, group in enumerate(selected):
            players = {}
            for name in subjects(group, arguments):
                try:
                    players[name] = workers.open(group, name, references)
                except BenchError as error:
                    result["refused"].append(_refused(group, name, str(error)))
            done = measure(list(players.values()), policy, accept_noise=arguments.accept_noise,
                           progress=lambda name, share, number=number: advance(number, name, share))  # fmt: skip
            for name, player in players.items():
                _add(result, group, name, done[name], roofs)
                player.close()
    return finish(result, arguments)


def _spec(what: dict[str, Any], name: str, references: str) -> dict[str, Any]:
    """What a worker needs to open the subject of a row."""
    return {
        "kind": "kernel", "name": name, "op": what["op"], "preset": what["preset"],
        "sizes": list(what["sizes"].values()), "dtype": what["dtype"], "subject": what["subject"],
        "threads": what["threads"], "cold": what["cache"] == "cold", "references": references,
    }  # fmt: skip


def spec_of(row: dict[str, Any], name: str, folder: str) -> dict[str, Any]:
    """The same for a row of a result file, under another name."""
    return _spec(row["what"], name, folder)


class Workers:
    """One child process for each library and thread count, kept from group to group."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], Worker] = {}

    def open(self, group: Group, name: str, references: str) -> RemotePlayer:
        key = ("ours" if name.startswith(OURS) else name, group.threads)
        if key not in self._open:
            self._open[key] = Worker(threads=group.threads)
        try:
            return self._open[key].player(_spec(group.what(name), name, references))
        except BenchError:
            if not self._open[key].alive():
                del self._open[key]
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        close_all(list(self._open.values()))


def _refused(group: Group, name: str, reason: str) -> dict[str, Any]:
    return record.refusal(group.identity(name), group.what(name), reason, group.repro(name))


def _add(result: dict[str, Any], group: Group, name: str, measured: Measured, roofs: Any) -> None:
    if measured.problem is not None:
        result["refused"].append(_refused(group, name, measured.problem))
        return
    seconds = measured.summary.median * 1e-9
    moved, flops = group.work.bytes(), group.work.flops()
    work = {"bytes": moved, "flops": flops, "bytes_per_s": moved / seconds, "flops_per_s": flops / seconds,
            "intensity": flops / moved}  # fmt: skip
    roof = roofs and roofs.share(flops, moved, group.work.dtype, group.threads, cold=group.cold, seconds=seconds)
    if roof and roof["share"] > TOO_GOOD:
        reason = (
            f"{name}: {roof['share']:.2f} of the roof {roof['name']}: faster than this machine can be; the work is "
            "counted too high, the roofs are too low (spar-bench machine --again), or the timer is wrong"
        )
        result["refused"].append(_refused(group, name, reason))
        return
    shape, image = group.work.shape, None
    if shape.calls:
        whole = image_seconds(shape.preset, PRECISION[group.work.dtype], group.threads)
        spent = shape.calls * seconds
        image = {"calls": shape.calls, "seconds": spent, "share": spent / whole if whole else None}
    result["rows"].append(record.row(group.identity(name), group.what(name), measured, group.repro(name),
                                     work=work, roof=roof, image=image))  # fmt: skip
