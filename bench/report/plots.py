"""Pictures of result files: rooflines, bars against peers, waterfalls, growth curves. Made from JSON only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spar_engine.errors import MissingDependency

Row = dict[str, Any]
OURS, PEER = "#2a6fbb", "#b8b8b8"


def pyplot() -> Any:
    """matplotlib without a display; MissingDependency with the remedy."""
    try:
        import matplotlib
    except ImportError:
        raise MissingDependency("plots need matplotlib; pip install 'spar-engine[bench]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: str | Path) -> None:
    """The same rows give the same bytes: no dates, no versions."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})
    pyplot().close(figure)


def is_ours(row: Row) -> bool:
    subject = row["what"]["subject"]
    return subject.startswith(("ours-", "native-")) or row["what"].get("ours", False)


def bars(rows: list[Row], label: str, path: str | Path) -> None:
    """Medians with their intervals, one group for each piece of work, ours in colour; the time axis is logarithmic."""
    plt = pyplot()
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row["what"][label])].append(row)
    figure, axes = plt.subplots(figsize=(8, 0.22 * len(rows) + 0.35 * len(groups) + 0.8))
    places, names, at = [], [], 0.0
    for group, members in groups.items():
        for row in sorted(members, key=lambda each: each["time"]["median"]):
            time = row["time"]
            arms = [[(time["median"] - time["ci95"][0]) * 1e-6], [(time["ci95"][1] - time["median"]) * 1e-6]]
            axes.barh(at, time["median"] * 1e-6, xerr=arms, color=OURS if is_ours(row) else PEER, height=0.8)
            places.append(at)
            names.append(f"{group}  {row['what']['subject']}")
            at += 1
        at += 0.6
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms, median and its 95 % interval")
    save(figure, path)


def roofline(rows: list[Row], machine: dict[str, Any], threads: int, path: str | Path) -> None:
    """Rows with counted work under the machine's roofs, for one thread count."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 5))
    intensities = [2.0**power for power in range(-3, 13)]
    memory = {}
    for stream in machine["streams"]:
        if stream["threads"] == threads:
            memory[stream["level"]] = max(memory.get(stream["level"], 0.0), stream["bytes_per_s"])
    peaks = [peak for peak in machine["peaks"] if peak["threads"] == threads]
    top = max(peak["operations_per_s"] for peak in peaks)
    for level, bandwidth in memory.items():
        axes.plot(intensities, [min(top, bandwidth * x) * 1e-9 for x in intensities], lw=0.8, color="black", alpha=0.5)
        axes.annotate(level, (intensities[0], bandwidth * intensities[0] * 1e-9), fontsize=7)
    for peak in peaks:
        rate = peak["operations_per_s"] * 1e-9
        axes.axhline(rate, lw=0.6, ls=":", color="black", alpha=0.5)
        axes.annotate(f"{peak['isa']} {peak['dtype']}", (intensities[-5], rate), fontsize=6, va="bottom")
    for row in rows:
        if row["what"]["threads"] == threads and "work" in row:
            work = row["work"]
            axes.plot(work["intensity"], work["flops_per_s"] * 1e-9, "o", ms=4, color=OURS if is_ours(row) else PEER)
    axes.set(xscale="log", yscale="log", xlabel="FLOP / byte", ylabel=f"GFLOP/s, {threads} threads")
    save(figure, path)


def waterfalls(rows: list[Row], path: str | Path) -> None:
    """Stages of one request of each row, one above the other; rows without stages are left out."""
    plt = pyplot()
    drawn = [row for row in rows if row.get("stages")]
    if not drawn:
        return
    names = list(dict.fromkeys(stage["name"] for row in drawn for stage in row["stages"]))
    colours = dict(zip(names, plt.get_cmap("tab10").colors * 2, strict=False))
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(drawn) + 1))
    for place, row in enumerate(drawn):
        for stage in row["stages"]:
            axes.barh(place, stage["seconds"], left=stage["start_s"], color=colours[stage["name"]], height=0.7, lw=0)
    labels = [f"{row['what']['task']}  {row['what']['subject']}" for row in drawn]
    axes.set_yticks(range(len(drawn)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.legend([plt.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names], names, fontsize=7, ncols=2)
    save(figure, path)


def curves(rows: list[Row]) -> Iterator[tuple[str, str, dict[str, list[Row]]]]:
    """Growth curves: (work, axis, points of each subject in order); curves of one point are left out."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if "growth" in row:
            what = row["what"]
            work = what.get("component") or what.get("task")
            found[work, row["growth"]["axis"]][what["subject"]].append(row)
    for (work, axis), subjects in found.items():
        for points in subjects.values():
            points.sort(key=lambda row: row["growth"]["value"])
        longer = {name: points for name, points in subjects.items() if len(points) > 1}
        if longer:
            yield work, axis, longer


def growth(work: str, axis: str, subjects: dict[str, list[Row]], path: str | Path) -> None:
    """Latency against one axis, each subject a line with its intervals."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, points in subjects.items():
        x = [row["growth"]["value"] for row in points]
        y = [row["time"]["median"] * 1e-6 for row in points]
        arms = [[(row["time"]["median"] - row["time"]["ci95"][0]) * 1e-6 for row in points],
                [(row["time"]["ci95"][1] - row["time"]["median"]) * 1e-6 for row in points]]  # fmt: skip
        axes.errorbar(x, y, yerr=arms, marker="o", ms=3, lw=1, label=name)
    axes.set(xlabel=axis, ylabel=f"ms, {work}", ylim=(0, None))
    axes.legend(fontsize=7)
    save(figure, path)


def all_plots(record: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Every plot that a result file has rows for; names follow the file's."""
    made: list[Path] = []

    def place(name: str) -> Path:
        made.append(folder / f"{stem}-{name}.png")
        return made[-1]

    rows, kind = record["rows"], record["kind"]
    still = [row for row in rows if "growth" not in row]
    if kind in ("kernels", "components") and record["machine"]:
        for threads in sorted({row["what"]["threads"] for row in still}):
            roofline(still, record["machine"], threads, place(f"roofline-{threads}t"))
    if kind == "components":
        for threads in sorted({row["what"]["threads"] for row in still}):
            bars([row for row in still if row["what"]["threads"] == threads], "component", place(f"bars-{threads}t"))
    if kind == "pipeline" and any(row.get("stages") for row in still):
        waterfalls(still, place("waterfall"))
    for work, axis, subjects in curves(rows):
        growth(work, axis, subjects, place(f"{work}-{axis}"))
    return made
