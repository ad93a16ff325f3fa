"""Exports the components of a model as ONNX files, and makes again only what is not fresh."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spar_engine.backends import manifest as manifests
from spar_engine.backends.identity import recipe_sha256, spec_sha256
from spar_engine.backends.manifest import Entry, GraphFile, Manifest
from spar_engine.components import Component, components
from spar_engine.errors import ArtefactError, InputError

from . import publish
from .freshness import stale, stale_weights
from .lock import locked
from .progress import Quiet
from .versions import versions

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class Built:
    """What happened to one component."""

    name: str
    reasons: list[str]  # why it was made; empty: it was fresh
    seconds: float
    nodes: int
    bytes: int  # of its files, graphs and weights


def export_onnx(
    weights: Any,
    out: str | Path,
    *,
    only: Collection[str] | None = None,
    taps: bool = False,
    in_place: bool = False,
    progress: Quiet | None = None,
) -> list[Built]:
    """Bring the artefacts in `out` up to date.

    weights   a checkpoint or random weights
    out       directory, made if need be; weights in place and other tools want it to be the checkpoint's own
    only      names of components; None: all that these weights can run
    taps      also a second graph of each, with its inner tensors as further outputs
    in_place  refer to the checkpoint's files instead of copying the weights
    errors    ArtefactError when `out` cannot be written; InputError for an unknown component. A component is complete
              or not there, whatever happens
    """
    out, progress = Path(out), progress or Quiet()
    names = wanted(weights, only)
    options = {"taps": taps, "in_place": in_place}
    if not publish.left_over(out) and not any(_reasons(weights, out, names, **options).values()):
        for name in names:
            progress.fresh(name)
        return [Built(name, [], 0.0, 0, 0) for name in names]
    with locked(out, progress.waiting), publish.aside(out) as folder:
        made = []
        manifest = _known(out, weights.config.name)
        for name in names:
            entry = manifest.components.get(name)
            reasons = stale(out, name, entry, weights, **options)
            if not reasons:
                progress.fresh(name)
                made.append(Built(name, [], 0.0, 0, 0))
                continue
            start = time.perf_counter()
            work = _Work(weights, out, folder, components(weights.config)[name], in_place, progress)
            entry, nodes = work.make(entry, reasons, taps=taps)
            manifest = publish.publish(out, folder, manifest, name, entry)
            seconds = time.perf_counter() - start
            progress.done(name, seconds)
            made.append(Built(name, reasons, seconds, nodes, _size(entry)))
        return made


def status(out: str | Path, weights: Any | None = None) -> dict[str, list[str]]:
    """Component -> reasons for which it is not fresh. Without `weights` only what the directory itself tells.

    errors  ArtefactError when there is no manifest or it cannot be used
    """
    out = Path(out)
    manifest = manifests.read_manifest(out)
    names = list(manifest.components) if weights is None else wanted(weights, None)
    return {name: stale(out, name, manifest.components.get(name), weights) for name in names}


def wanted(weights: Any, only: Collection[str] | None) -> list[str]:
    known = [name for name in components(weights.config) if name in weights.parts]
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise InputError(f"component {unknown[0]!r} is unknown or these weights lack it; there are {', '.join(known)}")
    return [name for name in known if only is None or name in only]


def _reasons(weights: Any, out: Path, names: list[str], **options: bool) -> dict[str, list[str]]:
    manifest = _known(out, weights.config.name)
    return {name: stale(out, name, manifest.components.get(name), weights, **options) for name in names}


def _known(out: Path, model: str) -> Manifest:
    """The manifest in `out`; a new one where there is none, or where ours was damaged."""
    path = out / manifests.FILE
    if not path.exists():
        return Manifest(model)
    try:
        return manifests.read_manifest(out)
    except ArtefactError:
        if b"spar-artefacts" in path.read_bytes():
            return Manifest(model)
        raise ArtefactError(f"{path}: belongs to something else; choose another directory") from None


def _size(entry: Entry) -> int:
    graphs = [entry.graph] + ([entry.taps] if entry.taps else [])
    return sum(file.size for file in (*graphs, *(() if entry.in_place else entry.weights)))


@dataclass(frozen=True, slots=True)
class _Work:
    """Making one component; its files come to lie in `folder`."""

    weights: Any
    out: Path
    folder: Path
    component: Component
    in_place: bool
    progress: Quiet

    def make(self, before: Entry | None, reasons: list[str], taps: bool) -> tuple[Entry, int]:
        """What the manifest is to say of the component, and how many nodes its graph has.

        before  what it says now; weights that are still the same are not written again
        """
        from . import store
        from .traces import traced

        name = self.component.name
        self.progress.begin(name, reasons)
        self.progress.phase("tracing")
        plain, tapped = traced(self.component, self.weights, taps)
        names = store.parameters(plain)
        source = self.weights.sha256(names)
        if self.in_place:
            stored = store.in_place(names, self.weights)
        elif before and not before.in_place and before.source == source and not stale_weights(self.out, before, None):
            stored = store.beside(self.out / before.weights[0].file)
        else:
            stored = self._copy(names)
        graph = self._write(plain, f"{name}.onnx", stored)
        inner = self._write(tapped, f"{name}.taps.onnx", stored) if tapped else None
        spec = spec_sha256(name, self.weights.config)
        entry = Entry(graph, inner, stored.files, self.in_place, tuple(names), source, spec, recipe_sha256(),
                      versions())  # fmt: skip
        return entry, len(plain.graph.node)

    def _copy(self, names: list[str]) -> Any:
        from . import store

        need = sum(self.weights.info(name).nbytes for name in names)
        self.progress.phase("writing weights", need)
        free = shutil.disk_usage(self.folder).free
        if need > free:
            raise ArtefactError(f"{self.out}: {self.component.name} needs {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are "
                                "free; make room or choose another place")  # fmt: skip
        return store.copy(
            self.folder / f"{self.component.name}.safetensors", names, self.weights, self.progress.written
        )

    def _write(self, model: ModelProto, file: str, stored: Any) -> GraphFile:
        from .check import check
        from .store import attach

        self.progress.phase("checking")
        attach(model, stored)
        check(model)
        data = model.SerializeToString(deterministic=True)
        publish.write_file(self.folder / file, data)
        return GraphFile(file, len(data), hashlib.sha256(data).hexdigest())
