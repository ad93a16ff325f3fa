"""The stages of one request as lines of text."""

from __future__ import annotations

from typing import Any

from .table import seconds

WIDTH = 60  # characters of the time axis


def spans(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages with runs of the same component joined: {name, calls, start_s, end_s, busy_s}, in order of their start.

    Calls that alternate, as language and lm_head do while an answer is written, are joined by name."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        span = found.setdefault(stage["name"], {"name": stage["name"], "calls": 0, "start_s": stage["start_s"],
                                                "end_s": 0.0, "busy_s": 0.0})  # fmt: skip
        span["calls"] += 1
        span["end_s"] = max(span["end_s"], stage["start_s"] + stage["seconds"])
        span["busy_s"] += stage["seconds"]
    return list(found.values())


def terminal(row: dict[str, Any]) -> str:
    """One line a component of the last request: where it lay, how often it ran, how long in all, its share.

    Rows without stages give ""."""
    found = spans(row.get("stages", []))
    if not found:
        return ""
    whole = max(span["end_s"] for span in found)
    lines = [f"{row['id']}: {seconds(whole)}"]
    for span in found:
        begin, end = (round(WIDTH * span[key] / whole) for key in ("start_s", "end_s"))
        bar = "" if span["name"] == "host" else " " * min(begin, WIDTH - 1) + "#" * max(1, end - begin)
        note = f"{span['calls']:>4} x {seconds(span['busy_s']):>8} {span['busy_s'] / whole:>4.0%}"
        lines.append(f"  {span['name']:<11}|{bar[:WIDTH]:<{WIDTH}}| {note}")
    return "\n".join(lines)
