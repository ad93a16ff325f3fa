"""Arguments that subcommands share, and what follows from them."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from spar_engine.errors import InputError

from .harness.environment import cpu
from .harness.policy import POLICIES, Policy
from .machine.roofs import Roofs
from .machine.store import load_machine


def add_measuring(parser: argparse.ArgumentParser, policy: str) -> None:
    """How long to measure and what noise to bear."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--policy", choices=sorted(POLICIES), default=policy, help="defaults for the rest (%(default)s)")
    group.add_argument("--seconds", type=float, help="time budget of one subject")
    group.add_argument("--precision-goal", type=float, metavar="SHARE",
                       help="stop when the 95 %% interval of the median is this narrow")  # fmt: skip
    group.add_argument("--accept-noise", action="store_true",
                       help="report numbers of a busy machine too, marked as such")  # fmt: skip
    group.add_argument("--threads", default="1,all", help="thread counts, e.g. 1 or 1,all (%(default)s)")


def add_subjects(parser: argparse.ArgumentParser) -> None:
    """Which model, on what."""
    parser.add_argument("--preset", default="spar-1b", help="preset or checkpoint directory (%(default)s)")
    parser.add_argument("--trained", action="store_true",
                        help="--preset is a checkpoint or a bundled model; otherwise weights are random")  # fmt: skip
    parser.add_argument("--backend", default="native", help="backends of the engine, comma-separated (%(default)s)")
    parser.add_argument("--precision", help="precisions of these backends (default: all they have)")
    parser.add_argument("--peers", default="none", help="peers such as openvino-bf16,torch-compile-bf16; `all` that "
                        "are installed, or none (%(default)s)")  # fmt: skip
    parser.add_argument("--subjects", help="exactly these instead, e.g. native-bf16,openvino-bf16")


def subjects_of(arguments: argparse.Namespace) -> list[str]:
    """Names of what is measured side by side."""
    from .peers.backend import PRECISIONS, is_ours
    from .peers.base import ALL, split

    if arguments.subjects:
        chosen = listed(arguments.subjects)
    else:
        chosen = [f"{name}-{precision}" for name in listed(arguments.backend)
                  for precision in listed(arguments.precision) or PRECISIONS.get(name, ())]  # fmt: skip
        if unknown := [name for name in listed(arguments.backend) if name not in PRECISIONS]:
            raise InputError(f"--backend: {unknown[0]!r} is unknown; there are {', '.join(PRECISIONS)}")
        if arguments.peers == "all":
            chosen += [f"{peer.name}-{precision}" for peer in ALL if not peer.missing() for precision in peer.precisions
                       if not is_ours(f"{peer.name}-{precision}")]  # fmt: skip
        elif arguments.peers != "none":
            chosen += listed(arguments.peers)
    for name in chosen:
        if not is_ours(name):
            split(name)  # says what there is when the name is wrong
    return list(dict.fromkeys(chosen))


def growth_of(text: str | None) -> tuple[str | None, list[int]]:
    """`steps=4,8,16` -> ("steps", [4, 8, 16])."""
    if text is None:
        return None, []
    axis, _, values = text.partition("=")
    numbers = listed(values)
    if not axis or len(numbers) < 2 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise InputError(f"--grow: {text!r} is not AXIS=V1,V2,... with at least two whole numbers above 0")
    return axis, [int(number) for number in numbers]


def add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", metavar="FILE", help="write the result file")
    group.add_argument("--csv", metavar="FILE", help="write the rows as comma-separated values")
    group.add_argument("--markdown", metavar="FILE", help="write the rows as a markdown table")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def policy_of(arguments: argparse.Namespace) -> Policy:
    chosen = POLICIES[arguments.policy]
    for option, field in (("seconds", "seconds"), ("precision_goal", "precision")):
        value = getattr(arguments, option)
        if value is not None:
            if not value > 0:
                raise InputError(f"--{option.replace('_', '-')}={value:g} must be greater than 0")
            chosen = dataclasses.replace(chosen, **{field: value})
    return chosen


def threads_of(text: str) -> list[int]:
    """`1,all` -> [1, cores]."""
    most, found = cpu()["cores"], []
    for word in text.split(","):
        count = most if word == "all" else int(word) if word.isdigit() else 0
        if not 1 <= count <= most:
            raise InputError(f"--threads: {word!r} must be from 1 to {most}, or all")
        found.append(count)
    return sorted(set(found))


def listed(text: str | None) -> list[str]:
    """Words of a comma-separated list."""
    return [word for word in (text or "").split(",") if word]


def roofs_or_warn() -> Roofs | None:
    """The cached roofs of this machine; without them rows have no share of a roof, which is said once."""
    record = load_machine()
    if record is None:
        print("spar-bench: no roofs of this machine are known, so shares are left out; run: spar-bench machine",
              file=sys.stderr)  # fmt: skip
        return None
    return Roofs(record)


def progress_bar(quiet: bool, groups: int) -> tuple[Any, Callable[[int, str, float], None]]:
    """A bar over all groups of rows, and what to call with a group's number, a subject and its share."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True)
    task, shares = bar.add_task("", total=max(1, groups)), {}

    def advance(group: int, name: str, share: float) -> None:
        shares.setdefault(group, {})[name] = share
        done = sum(shares[group].values()) / max(1, len(shares[group]))
        bar.update(task, completed=group + done, description=name)

    return bar, advance
