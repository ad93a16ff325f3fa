"""Whether a plan must be built again, and why. Reads files and digests; torch, onnx and builders are not imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spar_engine.backends.manifest import GraphFile
from spar_engine.backends.plans import identity
from spar_engine.backends.plans.manifest import PlanEntry, Profile, component_of
from spar_engine.backends.plans.plugins import NONE, kernels
from spar_engine.errors import MissingDependency
from spar_engine.weights.digest import file_digest

from .flavours import Flavour
from .settings import Settings


def key_now(name: str, weights: Any, settings: Settings, entry: PlanEntry) -> dict[str, str]:
    """The key of component `name` as it would be built now; the graph is taken to follow from the code."""
    name = component_of(name)
    return {
        "configuration": identity.configuration(name, weights.config),
        "code": identity.code(),
        "weights": identity.weights_key(weights, entry.parameters, settings.stripped),
        "kernels": NONE if entry.operators == "none" else kernels(settings.plugins),
        **machine_key(settings),
        "profiles": said(settings.profiles(name, weights.config)),
    }


def machine_key(settings: Settings) -> dict[str, str]:
    """The topics that do not depend on the component."""
    return {
        "builder": builder_version(settings.flavour),
        "driver": driver(settings.flavour),
        "gpu": " ".join(settings.gpus),
        "options": settings.options(),
    }


def builder_version(flavour: Flavour) -> str:
    """Name and version of the builder; it is loaded only where no package tells, as after an install by hand."""
    for package in (flavour.package, f"{flavour.package}_cu13", f"{flavour.package}_cu12"):
        try:
            return f"{flavour.package} {version(package)}"
        except PackageNotFoundError:
            continue
    try:
        return f"{flavour.package} {flavour.module().__version__}"
    except MissingDependency:
        return "not installed"


def driver(flavour: Flavour) -> str:
    """CUDA version of the driver that the plan is timed under; ahead of time there is none."""
    from spar_engine.backends.plans.device import driver_version

    if flavour.ahead:
        return "none, built ahead of time"
    try:
        return driver_version()
    except MissingDependency:
        return "none"


def said(profiles: tuple[Profile, ...]) -> str:
    """Profiles as text: the same for the same profiles."""
    return "; ".join(
        f"{profile.name} " + " ".join(f"{axis} {low}..{mid}..{high}" for axis, (low, mid, high) in profile.axes.items())
        for profile in profiles
    )


def stale(directory: Path, name: str, entry: PlanEntry | None, weights: Any | None, settings: Settings) -> list[str]:
    """Reasons for which the plan of component `name` in `directory` is not fresh; none: it is.

    weights  the model it should be of; None leaves out what only a model can tell
    """
    if entry is None:
        return ["not built"]
    now = {"code": identity.code(), **machine_key(settings)} if weights is None else None
    reasons = identity.differences(entry.key, now or key_now(name, weights, settings, entry))
    return reasons + [why for file in entry.files if (why := changed(directory, file))]


def changed(directory: Path, file: GraphFile) -> str | None:
    """What is wrong with a file of the manifest; None: nothing. A reader hashes what it uses, once more."""
    path = directory / file.file
    try:
        same = path.stat().st_size == file.size and file_digest(path) == file.sha256
    except OSError as error:
        return f"{file.file} cannot be read ({error.strerror or error})"
    return None if same else f"{file.file} is not the file that the manifest describes"
