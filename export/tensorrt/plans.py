"""Brings the plans of a directory up to date, and builds again only what is not fresh."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from spar_engine.backends.manifest import FILE
from spar_engine.backends.plans.manifest import FORMAT, TAPS, PlanManifest, component_of, read_plans
from spar_engine.components import components
from spar_engine.errors import ArtefactError

from .. import publish
from ..lock import locked
from ..onnx import wanted
from .building import BuiltPlan, Work
from .settings import Settings, settings_in
from .stale import stale
from .watch import PlanQuiet


def export_plans(
    weights: Any, out: str | Path, settings: Settings, *, only: Collection[str] | None = None,
    progress: PlanQuiet | None = None, threads: int | None = None, taps: bool = False,
) -> list[BuiltPlan]:  # fmt: skip
    """Build what is not fresh.

    weights  a checkpoint or random weights
    out      directory of plans, made if need be
    only     names of components; None: all that these weights can run
    threads  of the builder; None: the processors of this machine
    taps     also a second plan of each, whose inner tensors are outputs too, for `spar doctor`
    errors   ArtefactError when `out` cannot be written or holds something else; BackendError when the builder refuses;
             InputError for an unknown component. A component is complete or not there, whatever happens
    """
    out, progress = Path(out), progress or PlanQuiet()
    names = [name + kind for name in wanted(weights, only) for kind in (("", TAPS) if taps else ("",))]
    if not publish.left_over(out):
        manifest = _known(out, weights, settings)
        if not any(stale(out, name, manifest.components.get(name), weights, settings) for name in names):
            return [_kept(name, progress) for name in names]
    settings.flavour.module()  # before anything is traced or written
    with locked(out, progress.waiting), publish.aside(out) as folder:
        manifest, made = _known(out, weights, settings), []
        for name in names:
            entry = manifest.components.get(name)
            reasons = stale(out, name, entry, weights, settings)
            if not reasons:
                made.append(_kept(name, progress))
                continue
            spec = components(weights.config)[component_of(name)]
            work = Work(weights, out, manifest, folder, name, spec, settings, progress, threads)
            entry, timing, built = work.make(entry, reasons)
            manifest = dataclasses.replace(manifest, timing=manifest.timing | timing)
            manifest = publish.publish(out, folder, manifest, name, entry)
            progress.done(name, built.seconds)
            made.append(built)
        return made


def status(out: str | Path, weights: Any | None = None, settings: Settings | None = None) -> dict[str, list[str]]:
    """Component -> reasons for which its plan is not fresh. Without `weights` only what the directory itself tells.

    settings  what the plans should be; None: what they were built as
    errors    ArtefactError when there is no manifest or it cannot be used
    """
    out = Path(out)
    manifest = read_plans(out)
    settings = settings or settings_in(manifest, out)
    names = list(manifest.components)
    if weights is not None:
        names = wanted(weights, None) + [name for name in names if name.endswith(TAPS)]
    return {name: stale(out, name, manifest.components.get(name), weights, settings) for name in names}


def _kept(name: str, progress: PlanQuiet) -> BuiltPlan:
    progress.fresh(name)
    return BuiltPlan(name, [], 0.0, 0, 0, 0, 0, "")


def _known(out: Path, weights: Any, settings: Settings) -> PlanManifest:
    """The manifest in `out`; a new one where there is none, or where ours was damaged, or is of another flavour."""
    path, new = out / FILE, PlanManifest(weights.config.name, settings.flavour.name, settings.precision)
    if not path.exists():
        return new
    try:
        found = read_plans(out)
    except ArtefactError:
        if FORMAT.split()[0].encode() in path.read_bytes():
            return new
        raise ArtefactError(f"{path}: belongs to something else; choose another directory") from None
    same = (found.flavour, found.precision) == (new.flavour, new.precision)
    return dataclasses.replace(found, model=new.model) if same else new
