"""The loss curves and scores of a run as one picture."""

from __future__ import annotations

import json
from pathlib import Path

SKIPPED = ("step", "elapsed", "norm", "samples_per_s")


def curves(log: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Name -> (minutes, values) of everything that a stage has logged."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        for name, value in values.items():
            if name not in SKIPPED:
                minutes, points = found.setdefault(name, ([], []))
                minutes.append(values["elapsed"] / 60)
                points.append(value)
    return found


def plot(run: Path, out: Path) -> None:
    """Writes a PNG: one row for each stage, losses on the left, scores on held-out compositions on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from .stages import STAGES

    logs = {name: run / name / "log.jsonl" for name in STAGES if (run / name / "log.jsonl").exists()}
    figure, axes = pyplot.subplots(len(logs), 2, figsize=(12, 2.6 * len(logs)), squeeze=False, layout="constrained")
    for (loss, score), (name, log) in zip(axes, logs.items(), strict=True):
        for key, (minutes, points) in curves(log).items():
            is_score = key.startswith("eval_")
            (score if is_score else loss).plot(
                minutes, points, label=key.removeprefix("eval_"), marker="." if is_score else ""
            )
        for axis, words in ((loss, "losses"), (score, "scores, held out")):
            axis.set_title(f"{name}: {words}", fontsize=9)
            axis.set_xlabel("minutes", fontsize=8)
            if axis.lines:
                axis.legend(fontsize=6, ncols=2)
        if loss.lines and all((line.get_ydata() > 0).all() for line in map(_arrays, loss.lines)):
            loss.set_yscale("log")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def _arrays(line):
    import numpy as np

    line.set_ydata(np.asarray(line.get_ydata(), float))
    return line
