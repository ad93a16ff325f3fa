"""Whether a component must be made again, and why. Reads files and digests; neither torch nor onnx is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spar_engine.backends.identity import recipe_sha256
from spar_engine.backends.manifest import Entry
from spar_engine.backends.verify import Fault, check_source, find_weights, read_graph

from .versions import versions


def stale(
    directory: Path,
    name: str,
    entry: Entry | None,
    weights: Any | None,
    *,
    taps: bool = False,
    in_place: bool | None = None,
) -> list[str]:
    """Reasons for which component `name` in `directory` is not fresh; none: it is.

    entry     what the manifest says of it
    weights   the model it should be of; None leaves out what only a model can tell
    taps      graphs with taps are wanted; without, they may be there or not
    in_place  how the weights should be stored; None: either way
    """
    if entry is None:
        return ["not built"]
    reasons = [] if weights is None else _faults(check_source, name, entry, weights)
    if entry.recipe != recipe_sha256():
        reasons.append("the exporter or the modules changed")
    for package, now in versions().items():
        before = entry.versions.get(package, "unknown")
        if now not in (before, "not installed"):
            reasons.append(f"{package} was {before}, is {now}")
    if taps and entry.taps is None:
        reasons.append("built without taps")
    if in_place is not None and entry.in_place != in_place:
        reasons.append("its weights are to be used in place" if in_place else "its weights are to be copied")
    for graph in (entry.graph, entry.taps):
        reasons += _faults(read_graph, directory, graph) if graph else []
    return reasons + stale_weights(directory, entry, weights)


def stale_weights(directory: Path, entry: Entry, weights: Any | None) -> list[str]:
    """What does not fit of the weights files of a component; a checkpoint's own cannot be told without `weights`."""
    base = getattr(weights, "directory", None) if entry.in_place else directory
    if base is None:
        return []
    return [fault for record in entry.weights for fault in _faults(find_weights, Path(base), record, entry.in_place)]


def _faults(check: Callable[..., Any], *args: Any) -> list[str]:
    try:
        check(*args)
    except Fault as fault:
        return [str(fault)]
    return []
