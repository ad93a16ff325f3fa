"""The weights that a plan wants, by name, and where each comes from in a checkpoint.

Each is a parameter in the type the plan computes in, or a result of the constants graph: a small ONNX graph without
weights whose inputs are parameters in float32. It runs on the CPU when weights are put in, in well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArtefactError
from ...weights.dtypes import STORAGE, to_bf16, to_f32
from ..ort_options import runtime
from . import float8


@dataclass(frozen=True, slots=True)
class Slot:
    """One weight of a plan."""

    name: str  # in the plan
    dtype: str  # "F32", "F16", "BF16" or "F8_E4M3"
    shape: tuple[int, ...]
    source: str  # a parameter of the checkpoint, or a result of the constants graph
    derived: bool  # which of the two
    factors: bool = False  # not its values, but what the rows of its float8 values are multiplied with


def check_names(component: str, slots: tuple[Slot, ...], wanted: set[str]) -> None:
    """ArtefactError unless the weights that a plan wants are exactly those that the manifest lists."""
    listed = {slot.name for slot in slots}
    missing, unused = sorted(wanted - listed), sorted(listed - wanted)
    if missing or unused:
        raise ArtefactError(
            f"{component}: the plan and its list of weights differ: {len(missing)} missing {missing[:3]}, "
            f"{len(unused)} unused {unused[:3]}; build the plan again"
        )


class Filling:
    """The numbers for the slots of a plan.

    weights    a checkpoint or random weights
    constants  the constants graph; None where no slot is derived
    """

    def __init__(self, slots: tuple[Slot, ...], weights: Any, constants: bytes | None):
        self.slots, self.weights, self._constants = slots, weights, constants

    def array(self, slot: Slot) -> np.ndarray:
        """Numbers for one slot, C-contiguous; bf16 as its bits (uint16), float8 as its bits (uint8).

        errors  ArtefactError where a parameter has another shape, or leaves the range of float16
        """
        if slot.derived:
            values, stored = self._results[slot.source], "F32"
        else:
            values, stored = self.weights.raw(slot.source), self.weights.info(slot.source).dtype
        if (len(values) if slot.factors else values.size) != prod(slot.shape):
            raise ArtefactError(
                f"`{slot.source}` has shape {list(values.shape)}, the plan wants {list(slot.shape)}; "
                "these weights belong to another model, build a plan for it"
            )
        return np.ascontiguousarray(_converted(values, stored, slot)).reshape(slot.shape)

    def place(self, slot: Slot) -> tuple[Path, int] | None:
        """File and offset of a parameter that is stored exactly as the plan wants it."""
        if slot.derived or slot.factors or slot.dtype == "F8_E4M3":  # float8 of a checkpoint has no factors
            return None
        if self.weights.info(slot.source).dtype != slot.dtype:
            return None
        place = self.weights.place(slot.source)
        if place is None or place[1].nbytes != prod(slot.shape) * STORAGE[slot.dtype].itemsize:
            return None
        return place[0], place[1].begin

    @cached_property
    def _results(self) -> dict[str, np.ndarray]:
        """Results of the constants graph that some slot reads."""
        names = list(dict.fromkeys(slot.source for slot in self.slots if slot.derived))
        if self._constants is None:
            raise ArtefactError(f"`{names[0]}` is a result of the constants graph, which is not there; build again")
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.enable_cpu_mem_arena = False
        session = ort.InferenceSession(self._constants, options, providers=["CPUExecutionProvider"])
        given = {value.name: self.weights.f32(value.name) for value in session.get_inputs()}
        return dict(zip(names, session.run(names, given), strict=True))


def _converted(values: np.ndarray, stored: str, slot: Slot) -> np.ndarray:
    if slot.factors:
        return float8.row_factors(to_f32(values, stored))
    if slot.dtype == "F8_E4M3":
        return float8.rows(to_f32(values, stored))
    if stored == slot.dtype:
        return values
    wide = to_f32(values, stored)
    if slot.dtype == "BF16":
        return to_bf16(wide)
    if slot.dtype == "F16":
        with np.errstate(over="ignore"):
            half = wide.astype(np.float16)
        if not np.isfinite(half).all():
            raise ArtefactError(f"`{slot.source}` leaves the range of float16; build this component in bf16")
        return half
    return wide
