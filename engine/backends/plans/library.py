"""The libraries that run plans: found, named with their version, and asked to make an engine of bytes."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from ...errors import ArtefactError, MissingDependency
from .manifest import PlanEntry
from .slots import Filling, check_names

PACKAGES = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
"""Flavour -> the package that runs its plans."""


def library(flavour: str) -> Any:
    """The package of a flavour; MissingDependency with the way to get it."""
    package = PACKAGES.get(flavour)
    if package is None:
        raise ArtefactError(f"flavour {flavour!r} of these plans is unknown; there are {', '.join(PACKAGES)}")
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(f"plans of flavour {flavour!r} need the package {package}; pip install {package}_cu13")
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:
        raise MissingDependency(f"the package {package} does not load ({str(error).splitlines()[0]})") from None


def engine_of(trt: Any, runtime: Any, component: str, plan: bytes) -> Any:
    """An engine from verified bytes. Plans that carry host code are refused by the runtime."""
    runtime.engine_host_code_allowed = False
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(f"{component}: {trt.__name__} {trt.__version__} does not take its plan; build it again")
    return engine


def refit(
    trt: Any, engine: Any, logger: Any, device: Any, component: str, entry: PlanEntry, filling: Filling
) -> None:  # fmt: skip
    """Put weights into an engine: all of them, by name, from copies on the GPU that live until it has taken them.

    errors  ArtefactError where one is missing or unused, is refused, or the engine stays incomplete
    """
    refitter = trt.Refitter(engine, logger)
    check_names(component, entry.slots, set(refitter.get_all_weights()))
    types = trt.DataType
    kinds = {"F32": types.FLOAT, "F16": types.HALF, "BF16": types.BF16, "F8_E4M3": types.FP8}
    kept: list[int] = []
    stream = device.stream()
    try:
        for slot in entry.slots:
            array = filling.array(slot)
            kept.append(device.allocate(array.nbytes))
            device.copy_in(kept[-1], array, stream)
            weights = trt.Weights(kinds[slot.dtype], kept[-1], array.size)
            if not refitter.set_named_weights(slot.name, weights, trt.TensorLocation.DEVICE):
                raise ArtefactError(f"{component}: the plan refuses `{slot.name}` {list(slot.shape)}; build it again")
        if missing := list(refitter.get_missing_weights()):
            raise ArtefactError(f"{component}: the plan still lacks {missing[:3]}; build it again")
        if not refitter.refit_cuda_engine_async(stream):
            raise ArtefactError(f"{component}: the weights could not be put into the plan; build it again")
    finally:
        device.wait(stream)  # the copies are read until then
        for address in kept:
            device.free(address)
        device.end_stream(stream)


def stored_types(trt: Any) -> dict[Any, np.dtype]:
    """How values of each type lie in memory; bf16 as its bits."""
    kinds = trt.DataType
    return {
        kinds.FLOAT: np.dtype(np.float32), kinds.HALF: np.dtype(np.float16), kinds.BF16: np.dtype(np.uint16),
        kinds.INT64: np.dtype(np.int64), kinds.INT32: np.dtype(np.int32), kinds.BOOL: np.dtype(np.bool_),
    }  # fmt: skip
