"""A plan that was just built, against torch on the GPU of this machine; one outside tolerance is not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spar_engine.backends.manifest import FILE
from spar_engine.backends.plans.device import capability
from spar_engine.backends.plans.manifest import PlanEntry, PlanManifest
from spar_engine.errors import BackendError, MissingDependency

NO_GPU = "no, there was no GPU to run it on"


def verified(folder: Path, name: str, entry: PlanEntry, weights: Any, flavour: str, precision: str) -> str:
    """Where the plan was found right, or why it was not looked at.

    folder  holds the files of the plan, and nothing else that is to be kept under the name manifest.json
    errors  BackendError naming the tensor when the plan's error is more than twice that of torch in the same type
    """
    try:
        here = capability()
    except MissingDependency:
        return NO_GPU
    if here not in entry.gpu:
        return f"no, this GPU is {here}"
    from spar_engine.backends.tensorrt import TensorRTBackend
    from spar_engine.doctor.oracle import examine_components

    manifest = PlanManifest(weights.config.name, flavour, precision, {}, {name: entry})
    (folder / FILE).write_text(manifest.dumps())
    try:
        backend = TensorRTBackend(weights, plans=folder)
        try:
            rows = list(examine_components(backend, weights, precision, [name], layers=False))
        finally:
            backend.close()
    finally:
        (folder / FILE).unlink()
    bad = next((row for row in rows if not row.passed), None)
    if bad is not None:
        raise BackendError(
            f"{name}: `{bad.tensor}` of the new plan is wrong by {bad.error:.3g}, {bad.tolerance or 0:.3g} is allowed; "
            "it is not published (spar-export tensorrt --taps and spar doctor find the layer)"
        )
    return here
