"""`spar-bench oversubscribed`: more threads than CPUs against one thread, all on the same CPU.

A pool whose threads spin, or that cuts work into one fixed share a thread, becomes many times slower there.
"""

from __future__ import annotations

import argparse
from typing import Any

from spar_engine.errors import InputError

from .compare.judge import Sample, sides
from .components.run import Group, groups, reference_of, subject_spec
from .harness import record
from .harness.environment import cpu
from .harness.measure import Measured, measure
from .harness.remote import RemotePlayer, Worker
from .harness.stats import bootstrap_ratio
from .harness.subject import BenchError
from .options import add_measuring, add_output, add_subjects, policy_of, progress_bar, subjects_of
from .report.show import finish

LIMIT = 1.15


def add(commands: Any) -> None:
    parser = commands.add_parser("oversubscribed", help="more threads than CPUs, against one thread on the same CPU")
    add_subjects(parser)
    parser.add_argument("--component", default="dit,decode", help="as in `components` (%(default)s)")
    parser.add_argument("--sizes", help="as in `components`")
    parser.add_argument("--limit", type=float, default=LIMIT,
                        help="times one thread's seconds that are borne; more: exit code 1 (%(default)s)")  # fmt: skip
    add_measuring(parser, "slow")
    add_output(parser)
    parser.set_defaults(run=run, threads="all", grow=None)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a ratio is above the limit or a row was refused."""
    selected, policy = groups(arguments), policy_of(arguments)
    if crowd := [group for group in selected if group.threads < 2]:
        raise InputError(f"oversubscribed: --threads has {crowd[0].threads}, which no CPU is short for; give 2 or more")
    result, ratios = record.new_file("components", arguments.command_line, None), []
    bar, advance = progress_bar(arguments.quiet, len(selected))
    with bar:
        for number, group in enumerate(selected):
            reference = reference_of(group.what(""))["path"]
            for subject in subjects_of(arguments):
                found = _measure(group, subject, reference, policy, arguments.accept_noise,
                                 lambda name, share, number=number: advance(number, name, share))  # fmt: skip
                ratios += _add(result, group, subject, found)
    code = finish(result, arguments)
    for identity, ratio, low, high in ratios:
        verdict = "within" if ratio <= arguments.limit else "ABOVE"
        print(f"{identity}: {ratio:.3f} [{low:.3f}, {high:.3f}] times one thread, {verdict} {arguments.limit:g}")
    return 1 if code or any(ratio > arguments.limit for _, ratio, _, _ in ratios) else 0


def _what(group: Group, subject: str, threads: int) -> dict[str, Any]:
    return group.what(subject) | {"threads": threads, "cpus": 1}


def _name(group: Group, subject: str, threads: int) -> str:
    return f"{group.identity(subject).rpartition('/')[0]}/t{threads}-on-1"


def _repro(group: Group, subject: str) -> str:
    return group.repro(subject).replace("spar-bench components", "spar-bench oversubscribed", 1)


def _measure(
    group: Group, subject: str, reference: str, policy: Any, accept_noise: bool, progress: Any
) -> dict[int, Measured | str]:
    """By thread count what came of it, or why nothing did. Both are confined to the first CPU and take turns."""
    workers: list[Worker] = []
    players: dict[int, RemotePlayer] = {}
    found: dict[int, Measured | str] = {}
    try:
        for threads in (1, group.threads):
            try:
                workers.append(Worker(threads=threads, cpus=1))
                spec = subject_spec(_what(group, subject, threads), f"{subject}, {threads} threads", reference)
                players[threads] = workers[-1].player(spec)
            except BenchError as error:
                found[threads] = str(error)
        done = measure(list(players.values()), policy, accept_noise=accept_noise, progress=progress)
    finally:
        for worker in workers:
            worker.close()
    return found | {threads: done[player.name] for threads, player in players.items()}


def _add(result: Any, group: Group, subject: str, found: dict[int, Measured | str]) -> list[tuple[str, Any, Any, Any]]:
    """Rows of both thread counts; the ratio where both were earned."""
    rows = {}
    for threads, each in found.items():
        what, name = _what(group, subject, threads), _name(group, subject, threads)
        problem = each if isinstance(each, str) else each.problem
        if problem is not None:
            result["refused"].append(record.refusal(name, what, problem, _repro(group, subject)))
        else:
            rows[threads] = record.row(name, what, each, _repro(group, subject))
    result["rows"] += rows.values()
    if len(rows) < 2:
        return []
    crowded = rows[group.threads]
    pair = sides(Sample.of_row(rows[1]), Sample.of_row(crowded), True)
    ratio, low, high = bootstrap_ratio(*pair, paired=True)
    crowded["extra"] |= {"against_one_thread": {"value": ratio, "unit": "1"}, "ratio_low": {"value": low, "unit": "1"},
                         "ratio_high": {"value": high, "unit": "1"}, "cpus": {"value": 1, "unit": "CPUs"},
                         "cpus_of_machine": {"value": cpu()["cores"], "unit": "CPUs"}}  # fmt: skip
    return [(crowded["id"], ratio, low, high)]
