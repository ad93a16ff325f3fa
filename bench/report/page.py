"""docs/performance.md, made from the result files under bench/results and from nothing else."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ..harness.record import read
from ..peers.base import ALL
from .plots import all_plots, is_ours
from .table import markdown, ns, percent, table

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS, PAGE, PLOTS = ROOT / "bench" / "results", ROOT / "docs" / "performance.md", ROOT / "docs" / "plots"
ORDER = ("machine", "pipeline", "components", "kernels", "memory")
TITLES = {"machine": "Roofs", "pipeline": "Whole tasks", "components": "Components", "kernels": "Single ops",
          "memory": "Memory"}  # fmt: skip

HEAD = """# Performance

Every table and plot of this page is made by `spar-bench refresh --page-only` from the result files in
[`bench/results/`](../bench/results), which `docs/benchmarks.md` describes; none is typed by hand. A number is shown
only if its result was checked in the same run. Times are medians of interleaved turns with 95 % intervals. Weights are
random where a table says so: they change no speed and draw no picture.
"""


def write_page(results: Path = RESULTS, page: Path = PAGE, plots: Path = PLOTS) -> list[Path]:
    """Write page and plots; returns the plots."""
    records = sorted(((path, read(path)) for path in results.glob("*.json")), key=_place)
    drawn: dict[Path, list[Path]] = {path: all_plots(record, plots, path.stem) for path, record in records}
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text(records, {path: [plot.relative_to(page.parent) for plot in made]
                                   for path, made in drawn.items()}))  # fmt: skip
    kept = {plot for made in drawn.values() for plot in made}
    for stale in set(plots.glob("*.png")) - kept:
        stale.unlink()
    return sorted(kept)


def _place(entry: tuple[Path, dict[str, Any]]) -> tuple[int, str]:
    return ORDER.index(entry[1]["kind"]), entry[0].name


def text(records: list[tuple[Path, dict[str, Any]]], plots: dict[Path, list[Path]]) -> str:
    """The page."""
    parts, last = [HEAD], None
    for path, record in records:
        if record["kind"] != last:
            parts.append(f"## {TITLES[record['kind']]}\n")
            last = record["kind"]
        parts.append(f"### `{path.name}`\n\n{_where(record)}\n")
        parts.append(_body(record))
        parts += [f"![{plot.stem}]({plot.as_posix()})\n" for plot in plots[path]]
    if not records:
        parts.append("Nothing has been measured yet.\n")
    parts.append(_peers())
    return "\n".join(parts)


def _where(record: dict[str, Any]) -> str:
    """Machine, software and command of a file in a sentence or two."""
    environment, machine = record["environment"], record["machine"]
    cpu, versions, commit = environment["cpu"], environment["versions"], environment["commit"]
    state = "an installed copy"
    if commit is not None:
        state = f"commit `{commit['id'][:10]}`" + (" with changes" if commit["dirty"] else "")
    libraries = ", ".join(f"{name} {versions[name]}" for name in versions if name not in ("libc", "kernel"))
    gpus = "; ".join(gpu["name"] for gpu in environment["gpus"]) or "no GPU"
    processor = f"{cpu['model']} ({cpu['family']}), {cpu['cores']} cores, {', '.join(cpu['isa'])}"
    doubts = ""
    if machine and machine["disturbed"]:
        doubts = f" The roofs are doubtful: {'; '.join(machine['disturbed'][:3])}."
    return f"{record['created'][:10]}, {processor}; {gpus}; {state}; {libraries}. `{record['command']}`.{doubts}"


def _body(record: dict[str, Any]) -> str:
    if record["kind"] == "machine":
        return _roofs(record["machine"])
    if record["kind"] == "memory":
        return _memory(record["memory"])
    shown = [row for row in record["rows"] if "growth" not in row]
    parts = []
    parts.append(_side_by_side([row for row in shown if "cpus" not in row["what"]]))
    header, cells = table(record["kind"], shown)
    parts.append(markdown(header, cells) if cells else "No row was earned.\n")
    if record["refused"]:
        parts.append("Refused:\n")
        parts += [f"- `{row['id']}`: {row['reason']}" for row in record["refused"]]
        parts.append("")
    return "\n".join(parts)


def _roofs(machine: dict[str, Any]) -> str:
    counts = sorted({row["threads"] for row in machine["peaks"]})
    lines: dict[str, dict[int, str]] = defaultdict(dict)
    for row in machine["peaks"]:
        lines[f"{row['isa']} {row['dtype']}"][row["threads"]] = f"{row['operations_per_s'] * 1e-9:.0f} GOP/s"
    for row in machine["streams"]:
        name = f"{row['level']} {row['pass'].replace('_', ' ')}"
        lines[name][row["threads"]] = f"{row['bytes_per_s'] * 1e-9:.1f} GB/s"
    cells = [[name, *(found.get(count, "") for count in counts)] for name, found in lines.items()]
    opinions = [[each["what"], f"{each['ratio']:.2f}", "yes" if each["agrees"] else "no"] for each in machine["checks"]]
    tables = (
        markdown(["roof", *(f"{count} threads" for count in counts)], cells),
        markdown(["second opinion", "of ours", "agrees"], opinions),
    )
    return "\n".join(tables)


def _memory(memory: dict[str, Any]) -> str:
    cells = [[name, f"{value * 1e-6:.1f} MB"] for name, value in memory["bytes"].items()]
    cells.append(["limit of beyond", f"{memory['limit'] * 1e-6:.1f} MB"])
    return markdown(["of a process that draws", "held"], cells)


# Subjects of one line store their weights as wide as each other.
WIDTHS = {"f32": "32 bit", "fp32": "32 bit", "bf16": "16 bit", "fp16": "16 bit", "int8": "8 bit", "fp8": "8 bit",
          "int4": "4 bit"}  # fmt: skip


def _side_by_side(rows: list[dict[str, Any]]) -> str:
    """One line for each work, width of weights and thread count: ours, the quickest peer, and the ratio."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        what = row["what"]
        work = what.get("task") or what.get("component") or what["op"]
        size = what["size"] if "size" in what else " ".join(f"{name}={value}" for name, value in what["sizes"].items())
        width = WIDTHS[what.get("precision") or what["dtype"]]
        groups[what["preset"], work, size, width, str(what["threads"]), what.get("cache", "hot")].append(row)
    cells = []
    for (*told, cache), members in groups.items():
        ours = min((row for row in members if is_ours(row)), key=_median, default=None)
        peer = min((row for row in members if not is_ours(row)), key=_median, default=None)
        if ours is None or peer is None:
            continue
        told[1] += " (cold)" if cache == "cold" else ""
        cells.append([*told, f"{ours['what']['subject']} {ns(_median(ours))}",
                      f"{peer['what']['subject']} {ns(_median(peer))}", f"{_median(peer) / _median(ours):.2f}",
                      percent(ours["roof"]["share"]) if "roof" in ours else ""])  # fmt: skip
    if not cells:
        return ""
    header = ["preset", "work", "size", "weights", "threads", "ours", "quickest peer", "peer / ours", "ours of roof"]
    return markdown(header, cells)


def _median(row: dict[str, Any]) -> float:
    return row["time"]["median"]


def _peers() -> str:
    lines = ["## How peers are called\n"]
    lines += [f"- `{peer.name}` ({', '.join(peer.precisions)}): {peer.settings}." for peer in ALL]
    return "\n".join(lines) + "\n"
