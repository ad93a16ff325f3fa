"""Rows as text: the columns of each kind of result, in units a reader takes in at a glance."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def seconds(value: float) -> str:
    """0.00123 -> "1.23 ms"; three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e9:.3g} ns"


def ns(value: float) -> str:
    return seconds(value * 1e-9)


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}" if abs(value) < 0.1 else f"{value:.0%}"


def rate(value: float) -> str:
    """A rate in units of 10^9."""
    return f"{value * 1e-9:.3g}"


def sizes(what: dict[str, Any]) -> str:
    return "x".join(str(size) for size in what.get("sizes", {}).values())


Column = tuple[str, Callable[[Row], str]]

TIME: tuple[Column, ...] = (
    ("median", lambda row: ns(row["time"]["median"])),
    ("95 % CI", lambda row: " .. ".join(ns(bound) for bound in row["time"]["ci95"])),
    ("p5", lambda row: ns(row["time"]["p5"])),
    ("p95", lambda row: ns(row["time"]["p95"])),
)
CHECK: tuple[Column, ...] = (
    ("rel. error", lambda row: f"{row['check']['rel_l2']:.1e}" if row["check"] else "not checked"),
    ("of tolerance", lambda row: percent(row["check"]["share_of_tolerance"]) if row["check"] else ""),
)
WORK: tuple[Column, ...] = (
    ("GB/s", lambda row: rate(row["work"]["bytes_per_s"]) if "work" in row else ""),
    ("GFLOP/s", lambda row: rate(row["work"]["flops_per_s"]) if "work" in row else ""),
    ("FLOP/byte", lambda row: f"{row['work']['intensity']:.3g}" if "work" in row else ""),
    ("of roof", lambda row: percent(row["roof"]["share"]) if "roof" in row else ""),
    ("roof", lambda row: row["roof"]["name"] if "roof" in row else ""),
)
IMAGE: tuple[Column, ...] = (
    ("in an image", lambda row: seconds(row["image"]["seconds"]) if "image" in row else ""),
    ("of an image", lambda row: percent(row["image"]["share"]) if "image" in row else ""),
)
NOISE: tuple[Column, ...] = (
    ("others", lambda row: percent((row["noise"]["foreign_s"] + row["noise"]["steal_s"]) / row["noise"]["wall_s"])),
)


def named(name: str, key: str) -> Column:
    return name, lambda row: str(row["what"].get(key, ""))


def extra(name: str, key: str, show: Callable[[float], str]) -> Column:
    return name, lambda row: show(row["extra"][key]["value"]) if key in row["extra"] else ""


def mib(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "kernels": (
        named("op", "op"), ("size", lambda row: sizes(row["what"])), named("dtype", "dtype"),
        named("subject", "subject"), named("threads", "threads"), named("cache", "cache"),
        *TIME, *CHECK, *WORK, *IMAGE, *NOISE,
    ),
    "components": (
        named("preset", "preset"), named("component", "component"), named("size", "size"), named("subject", "subject"),
        named("threads", "threads"), named("CPUs", "cpus"), *TIME, *CHECK, *WORK,
        extra("a second", "per_second", lambda v: f"{v:.3g}"),
        extra("load", "load_s", seconds), extra("memory", "peak_rss", mib), *NOISE,
    ),
    "pipeline": (
        named("preset", "preset"), named("task", "task"), named("size", "size"), named("subject", "subject"),
        named("threads", "threads"), *TIME, *CHECK, extra("images/s", "images_per_s", lambda v: f"{v:.3g}"),
        extra("tokens/s", "tokens_per_s", lambda v: f"{v:.3g}"), extra("first token", "first_token_s", seconds),
        extra("load", "load_s", seconds), extra("import", "import_s", seconds), extra("memory", "peak_rss", mib),
        extra("energy", "energy_j", lambda v: f"{v:.3g} J"), *NOISE,
    ),
    "selftest": (named("subject", "subject"), *TIME, *CHECK, *NOISE),
}  # fmt: skip


def table(kind: str, rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells; columns that are empty in every row are left out."""
    columns = COLUMNS[kind]
    cells = [[show(row) for _, show in columns] for row in rows]
    kept = [i for i in range(len(columns)) if any(line[i] for line in cells)]
    return [columns[i][0] for i in kept], [[line[i] for i in kept] for line in cells]


def markdown(header: list[str], cells: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
    return "\n".join(lines) + "\n"


def comma_separated(rows: list[Row]) -> str:
    """Every number of every row in base units, one column each: for machines, so nothing is rounded."""
    flat = [_flat(row) for row in rows]
    fields = list(dict.fromkeys(name for row in flat for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, restval="")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, dict) and key != "turns":
            found |= _flat(item, f"{name}.")
        elif isinstance(item, list):
            found[name] = " ".join(map(str, item))
        elif not isinstance(item, dict):
            found[name] = item
    return found
