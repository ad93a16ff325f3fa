"""`spar-bench compare A.json B.json`: what became slower or faster, and whether that is more than noise."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from spar_engine.errors import BackendError, InputError

from ..harness import record
from ..options import policy_of
from ..report.show import show_table, write_text
from ..report.table import markdown, ns
from .judge import MARGIN, Sample, Verdict, judge_all, settle
from .rerun import Side, rerun


def add(commands: Any) -> None:
    parser = commands.add_parser("compare", help="two result files: what became slower, beyond noise")
    parser.add_argument("before", metavar="A.json")
    parser.add_argument("after", metavar="B.json")
    parser.add_argument("--margin", type=float, default=MARGIN,
                        help="a difference up to this share is called none (%(default)s)")  # fmt: skip
    parser.add_argument("--rerun", choices=("never", "suspects", "all"), default="suspects",
                        help="measure rows again, both sides interleaved, if both can run (%(default)s)")  # fmt: skip
    parser.add_argument("--python-a", metavar="PATH", help="interpreter with the commit of A installed (default: this)")
    parser.add_argument("--python-b", metavar="PATH", help="interpreter with the commit of B installed (default: this)")
    parser.add_argument("--across-machines", action="store_true", help="compare files of different machines")
    parser.add_argument("--all", action="store_true", help="show rows without a difference too")
    parser.add_argument("--markdown", metavar="FILE", help="write the table as markdown")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts")
    parser.add_argument("--policy", default="kernels", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help="time budget of one side of a row that is measured again")
    parser.set_defaults(run=run, precision_goal=None)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a row is slower or was lost, 0 otherwise."""
    before, after = record.read(arguments.before), record.read(arguments.after)
    if before["kind"] != after["kind"]:
        raise InputError(f"{arguments.before} holds {before['kind']}, {arguments.after} holds {after['kind']}; compare "
                         "files of one kind")  # fmt: skip
    if before["environment"]["cpu"] != after["environment"]["cpu"] and not arguments.across_machines:
        raise InputError(f"{arguments.before} and {arguments.after} were measured on different machines; "
                         "--across-machines compares them nevertheless")  # fmt: skip
    rows_a, rows_b = ({row["id"]: row for row in side["rows"]} for side in (before, after))
    common = [identity for identity in rows_a if identity in rows_b]
    if not common:
        raise InputError(f"{arguments.before} and {arguments.after} have no row in common")
    verdicts = judge_all({each: _pair(rows_a[each], rows_b[each]) for each in common}, arguments.margin)
    if arguments.rerun != "never":
        verdicts = settle(_again(arguments, before, after, rows_a, rows_b, verdicts))
    lost = [row for row in after["refused"] if row["id"] in rows_a]
    _show(arguments, verdicts, rows_a, rows_b, lost)
    return 1 if lost or any(verdict.kind == "slower" for verdict in verdicts) else 0


def _pair(row_a: dict[str, Any], row_b: dict[str, Any]) -> tuple[Sample, Sample, bool]:
    """Both sides of a row, and whether memory binds it."""
    memory_bound = "roof" in row_b and not row_b["roof"]["name"].endswith("peak")
    return Sample.of_row(row_a), Sample.of_row(row_b), memory_bound


def _again(arguments, before, after, rows_a, rows_b, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts with those measured again where that is wanted and possible."""
    wanted = [verdict for verdict in verdicts if arguments.rerun == "all" or verdict.suspect]
    if not wanted:
        return verdicts
    sides = Side(before, arguments.python_a), Side(after, arguments.python_b)
    for name, side in zip((arguments.before, arguments.after), sides, strict=True):
        if reason := side.why_not():
            if arguments.rerun == "all":
                raise BackendError(f"{name} cannot be run again: {reason}")
            print(f"spar-bench: the recorded numbers decide; {name} cannot be run again: {reason}", file=sys.stderr)
            return verdicts
    policy, again = policy_of(arguments), {}
    for verdict in wanted:
        pair = rows_a[verdict.identity], rows_b[verdict.identity]
        try:
            again[verdict.identity] = rerun(before["kind"], *pair, *sides, policy, arguments.margin)
        except BackendError as error:
            print(f"spar-bench: {error}", file=sys.stderr)
    return [again.get(verdict.identity, verdict) for verdict in verdicts]


def _show(arguments, verdicts: list[Verdict], rows_a, rows_b, lost: list[dict[str, Any]]) -> None:
    was, now = ({name: ns(row["time"]["median"]) for name, row in rows.items()} for rows in (rows_a, rows_b))
    header = ["row", "before", "after", "ratio", "95 % CI", "verdict"]
    shown = [verdict for verdict in verdicts if arguments.all or verdict.kind != "same"]
    cells = [[
        verdict.identity, was[verdict.identity], now[verdict.identity],
        f"{verdict.ratio:.3f}", "{:.3f} .. {:.3f}".format(*verdict.interval()),
        f"{verdict.kind}{' (measured again)' if verdict.rerun else ''}",
    ] for verdict in sorted(shown, key=lambda each: -each.ratio)]  # fmt: skip
    cells += [[row["id"], was[row["id"]], "", "", "", f"lost: {row['reason']}"] for row in lost]
    if cells:
        show_table(header, cells)
    counts = {kind: sum(each.kind == kind for each in verdicts) for kind in ("same", "slower", "faster", "unknown")}
    summary = ", ".join(f"{count} {kind}" for kind, count in (counts | {"lost": len(lost)}).items() if count)
    print(f"{len(verdicts)} rows compared: {summary}")
    if arguments.markdown:
        text = markdown(header, cells) + f"\n{len(verdicts)} rows compared: {summary}\n"
        write_text(arguments.markdown, text, "--markdown")
    if arguments.json:
        told = [_told(verdict) for verdict in verdicts if verdict.kind != "unknown"]
        record.write(arguments.json, {"verdicts": told, "lost": [row["id"] for row in lost]})


def _told(verdict: Verdict) -> dict[str, Any]:
    return {"id": verdict.identity, "verdict": verdict.kind, "ratio": verdict.ratio, "ci95": verdict.interval(),
            "p": verdict.p, "drift": verdict.drift, "measured_again": verdict.rerun}  # fmt: skip
