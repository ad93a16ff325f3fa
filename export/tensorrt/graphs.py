"""From a component to the graph that a builder gets, and the list of weights that it wants."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto, TensorProto
from spar_engine.backends.plans.launches import LAUNCHES
from spar_engine.backends.plans.manifest import Operand
from spar_engine.backends.plans.slots import Slot
from spar_engine.components import Component

from ..traces import traced
from . import cutting, fp8, ours
from .cores import with_cores
from .cutting import Halves
from .profiles import fixed_sizes
from .split import Parts, split
from .typed import NARROW, WIDER, typed

STAYS = frozenset(("keys", "values", "past_keys", "past_values", "cross_keys", "cross_values"))
"""Inputs and outputs that only travel from one call to the next; they stay on the GPU, in the plan's own type."""

DTYPES = {TensorProto.FLOAT: "F32", TensorProto.FLOAT16: "F16", TensorProto.BFLOAT16: "BF16", fp8.E4M3: "F8_E4M3"}


@dataclass(frozen=True, slots=True)
class PlanGraph:
    """What a builder gets of a component."""

    model: ModelProto  # without weights
    slots: tuple[Slot, ...]
    constants: ModelProto | None  # makes the derived slots; without weights
    operators: str  # how operators of domain `spar` are computed, as the manifest says it
    fixed: dict[str, int]  # axes that have one size
    parameters: tuple[str, ...]  # of the checkpoint, behind the slots
    halves: Halves | None = None  # where the component is cut, `model` is what comes before
    operands: tuple[Operand, ...] = ()  # of the operator between the halves

    @property
    def data(self) -> bytes:
        return self.model.SerializeToString(deterministic=True)

    @property
    def models(self) -> tuple[ModelProto, ...]:
        """Of each plan."""
        return (self.model,) if self.halves is None else (self.model, self.halves.after)

    @property
    def sha256(self) -> str:
        """Of everything but weights: a plan with the same digest computes the same with the same weights."""
        made = hashlib.sha256(self.data)
        if self.halves is not None:
            made.update(self.halves.after.SerializeToString(deterministic=True))
            made.update(repr((self.halves.operator, self.halves.attributes, self.operands)).encode())
        made.update(b"" if self.constants is None else self.constants.SerializeToString(deterministic=True))
        return made.hexdigest()


def plan_graph(
    component: Component, weights: Any, precision: str, *, plugins: bool, dynamic: bool, taps: bool = False,
    cut: bool = False,
) -> PlanGraph:  # fmt: skip
    """The typed graph of one component for these weights.

    precision  a key of typed.NARROW
    plugins    whether the builder takes operators of domain `spar` as plugin layers
    dynamic    leave the sizes of pictures free
    taps       inner tensors are outputs too
    cut        two graphs around an operator that our kernel can do between two plans
    """
    model = traced(component, weights, taps)[int(taps)]
    if plugins:
        model = with_cores(model)
    fixed = fixed_sizes(component, dynamic)
    parts = split(model, fixed)
    exact = {name for name, tensor in component.inputs.items() if tensor.exact}
    made = typed(model, parts, precision, STAYS, exact)
    if precision == "fp8" and component.name == "dit":
        from .calibrate import largest_inputs  # it imports torch, which a cached trace does without

        made = fp8.quantised(made, largest_inputs(weights))
    names = ours.operators(made)
    halves = None
    if cut and not taps:
        halves = next((one for kind in LAUNCHES if (one := cutting.cut(made, kind)) is not None), None)
    how = ours.NONE if not names else ours.PLUGINS if plugins else ours.DECOMPOSED if halves is None else ours.CUT
    if halves is not None:
        before, after = (ours.decomposed(one, NARROW[precision]) for one in (halves.before, halves.after))
        made, halves = before, dataclasses.replace(halves, before=before, after=after)
    else:
        made = ours.as_plugins(made) if plugins else ours.decomposed(made, NARROW[precision])
    tensors = [one for model in (made, *(() if halves is None else (halves.after,))) for one in model.graph.initializer]
    slots = tuple({one.name: _slot(one, parts) for one in tensors if not one.HasField("raw_data")}.values())
    operands = () if halves is None else _operands(halves, parts)
    behind = {slot.source for slot in (*slots, *(one.slot for one in operands if one.slot)) if not slot.derived}
    if parts.constants is not None:
        behind |= {value.name for value in parts.constants.graph.input}
    if precision == "fp8" and component.name == "dit":  # the pictures that show the ranges are made from all of these
        behind |= {name for part in fp8.PATH for name in weights.names(part)}
    said = f"{how}: {', '.join(names)}" if names else how
    return PlanGraph(made, slots, parts.constants, said, fixed, tuple(sorted(behind)), halves, operands)


def _operands(halves: Halves, parts: Parts) -> tuple[Operand, ...]:
    own = {tensor.name: _slot(tensor, parts) for tensor in halves.weights}
    return tuple(Operand(name, "" if value in own else value, own.get(value)) for name, value in halves.operands)


def _slot(tensor: TensorProto, parts: Parts) -> Slot:
    base = tensor.name.removesuffix(WIDER).removesuffix(fp8.BITS)
    factors, base = base.endswith(fp8.FACTORS), base.removesuffix(fp8.FACTORS)
    derived = base in parts.derived
    source = base if derived else base.partition("|")[0]
    return Slot(tensor.name, DTYPES[tensor.data_type], tuple(tensor.dims), source, derived, factors)
