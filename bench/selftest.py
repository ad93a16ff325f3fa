"""`spar-bench selftest`: does the harness catch cheats on this machine, and tell a slowdown from noise?"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from .compare.judge import Sample, judge
from .harness.measure import LocalPlayer, measure
from .harness.policy import KERNELS, Policy
from .harness.remote import Worker
from .harness.replay import record_noise
from .harness.subject import BenchError
from .harness.synthetic import KINDS, SABOTAGE, Scale, ScaleOracle
from .harness.verify import verify
from .report.show import show_table

SLOWDOWN = 0.10


def add(commands: Any) -> None:
    parser = commands.add_parser("selftest", help="does the harness catch cheats and tell slower from noise here?")
    parser.add_argument("--seconds", type=float, default=6.0, help="time budget of one subject (%(default)s)")
    parser.add_argument("--accept-noise", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--record", metavar="FILE", help="instead, keep the noise of two equal subjects for the tests")
    parser.add_argument("--rounds", type=int, default=200, help="of a recording (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a cheat passed, or a verdict is wrong."""
    if arguments.record:
        return _record(Path(arguments.record), arguments.rounds)
    lines = [*cheats(), *verdicts(dataclasses.replace(KERNELS, seconds=arguments.seconds), arguments.accept_noise)]
    show_table(["probe", "expected", "found", "right"], [[*line, "yes" if right else "NO"] for *line, right in lines])
    return 0 if all(line[-1] for line in lines) else 1


def _record(path: Path, rounds: int) -> int:
    with Worker(threads=1) as first, Worker(threads=1) as second:
        players = [
            worker.player({"kind": "synthetic", "name": name, "variant": "honest"})
            for worker, name in ((first, "before"), (second, "after"))
        ]
        found = record_noise(players, rounds, KERNELS.turn_seconds)
    path.write_text(json.dumps(found, separators=(",", ":")) + "\n", "utf-8")
    return 0


def cheats() -> list[tuple[str, str, str, bool]]:
    """Each sabotaged copy of the kernel against the checks."""
    found = []
    for name in SABOTAGE:
        if name == "kept-by-content":
            found.append(_never_twice())
            continue
        oracle = ScaleOracle()
        found.append((name, "refused", *_refusal(name, KINDS[name](oracle), oracle)))
    flat = ScaleOracle(flat=True)
    found.append(("constant-input", "refused", *_refusal("constant-input", Scale(flat), flat)))
    return found


def _refusal(name: str, subject: Scale, oracle: ScaleOracle) -> tuple[str, bool]:
    try:
        verify(name, subject, oracle)
    except BenchError as error:
        return str(error), True
    return "passed", False


def _never_twice() -> tuple[str, str, str, bool]:
    """A kernel that recognises its inputs gives right answers; the clock must never see it recognise any."""
    oracle = ScaleOracle()
    subject = KINDS["kept-by-content"](oracle)
    player = LocalPlayer("kept-by-content", subject, oracle)
    player.ready(KERNELS.turn_seconds, KERNELS.most_samples)
    subject.hits = 0
    samples = sum(len(player.turn().samples) for _ in range(3))
    allowed = 3  # the last call of a turn is checked, and has inputs that were seen
    return (
        "kept-by-content",
        f"at most {allowed} hits",
        f"{subject.hits} hits in {samples} calls",
        subject.hits <= allowed,
    )


def verdicts(policy: Policy, accept_noise: bool) -> list[tuple[str, str, str, bool]]:
    """The same kernel twice, and a copy that does a tenth of its work twice, each in a process of its own."""
    found = []
    for extra, expected in ((0.0, "same"), (SLOWDOWN, "slower")):
        with Worker(threads=1) as first, Worker(threads=1) as second:
            players = [
                worker.player({"kind": "synthetic", "name": name, "variant": "honest", "extra_work": share})
                for worker, name, share in ((first, "before", 0.0), (second, "after", extra))
            ]
            done = measure(players, policy, accept_noise=accept_noise)
        problem = next((measured.problem for measured in done.values() if measured.problem), None)
        label = "the same twice" if not extra else f"{extra:.0%} more work"
        if problem:
            found.append((label, expected, problem, False))
            continue
        before, after = (Sample(done[name].medians()) for name in ("before", "after"))
        verdict = judge(label, before, after, paired=True)
        shown = "{}, ratio {:.3f} ({:.3f} .. {:.3f})".format(verdict.kind, verdict.ratio, *verdict.interval())
        found.append((label, expected, shown, verdict.kind == expected))
    return found
