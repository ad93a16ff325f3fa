"""A case says what an op is asked in practice, how much work that is, and what its plain form looks like to a peer."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from spar_engine.config import ModelConfig, preset, presets
from spar_engine.errors import InputError

PROMPT = 32  # tokens of a usual prompt beside the latent queries
STEPS = 20

# Bytes of a quantized weight; one of 4 bits has its share of a group's scale, scales of int8 columns are next to none.
QUANTIZED = {"int8": 1.0, "int4": 0.5 + 2 / 32}

Inputs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One size of an op. `calls` is how often it runs in one 512-pixel picture of `preset` with guidance, 20 steps."""

    preset: str  # where it comes from, or "large" for token counts beyond the presets
    sizes: tuple[int, ...]
    calls: float = 0.0
    dtypes: tuple[str, ...] = ()  # the only ones that are asked for at this size; empty: all of the op


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the runner needs to know of an op.

    op           name of the op; `spar_engine.oracle.<op>` is its equation. It is measured as `spar_engine.ops.<op>`, as
                 `_native.Prepared` makes it ready from the kernels of the native backend, or as both
    kernels      entries of the native backend's table (csrc/cpu/core/kernels.h) that it runs
    axes         names of the sizes of a shape
    shapes       from a model's configuration to the shapes it asks for
    large        further shapes, beyond the presets
    changing     inputs that differ from call to call; the others are weights, packed or frozen by whoever likes to
    half         inputs stored in the row's dtype, bf16 where that is int8 or int4; the others stay float32
    quantized    weights that an implementation makes int8 or int4 of, once, in such rows
    dtypes       of the rows; results are bf16 unless it is f32
    inside       dtypes in which something between input and result is rounded too: the derived bound alone decides
    make         (rng, **sizes) -> inputs, float32 and numbers
    expected     (inputs, dtype) -> exact result, float64
    bound        (inputs, dtype) -> largest allowed error of a float32-accumulating implementation, element by element
    spread       (inputs, dtype) -> deviation that roundings of operands within may add to it, element by element, where
                 their worst case would prove nothing
    plain        inputs as torch tensors -> result: the op as a composition of torch functions
    graph        (**sizes) -> the same as an ONNX function in text; None: the operator's own decomposition (spar_export)
    terms        (**sizes) -> longest sum
    flops        (**sizes) -> multiply-adds twice; transcendental functions are not counted
    """

    op: str
    axes: tuple[str, ...]
    kernels: tuple[str, ...] = ()
    shapes: Callable[[ModelConfig], list[Shape]]
    large: tuple[Shape, ...] = ()
    changing: tuple[str, ...]
    half: tuple[str, ...]
    quantized: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("f32", "bf16")
    inside: tuple[str, ...] = ()
    make: Callable[..., Inputs]
    expected: Callable[[Inputs, str], np.ndarray]
    bound: Callable[[Inputs, str], np.ndarray]
    spread: Callable[[Inputs, str], np.ndarray | float] = lambda inputs, dtype: 0.0
    plain: Callable[..., Any]
    graph: Callable[..., str] | None = None
    terms: Callable[..., int]
    flops: Callable[..., float]

    def all_shapes(self) -> list[Shape]:
        """Of every preset, then the large ones; a shape that two presets share is listed once, under the first."""
        found: dict[tuple[int, ...], Shape] = {}
        for config in models():
            for shape in self.shapes(config):
                known = found.setdefault(shape.sizes, shape)
                if known is not shape and known.preset == shape.preset:  # two places of one model
                    found[shape.sizes] = dataclasses.replace(known, calls=known.calls + shape.calls)
        for shape in self.large:
            found.setdefault(shape.sizes, shape)
        return list(found.values())

    def sizes(self, shape: Shape) -> dict[str, int]:
        return dict(zip(self.axes, shape.sizes, strict=True))

    def module(self) -> Any:
        """`spar_engine.ops.<op>`: the call under the op's name, and `variants()`."""
        return importlib.import_module(f"spar_engine.ops.{self.op}")

    def variants(self) -> list[str]:
        """Implementations behind `spar_engine.ops.<op>` that this machine runs, best first."""
        return self.module().variants() if self.op in called() else []

    def isas(self) -> list[str]:
        """Tables of the native backend's kernels that this machine runs, best first."""
        from spar_engine import _native

        return _native.native_isas() if self.op in _native.prepared_ops() else []


@cache
def models() -> tuple[ModelConfig, ...]:
    """Every preset, and the model that comes with the engine."""
    from spar_engine.runtime.assemble import DEFAULT, find_checkpoint
    from spar_engine.weights.checkpoint import Checkpoint

    bundled = dataclasses.replace(Checkpoint.open(find_checkpoint(DEFAULT)).config, name=DEFAULT)
    return (*(preset(name) for name in presets()), bundled)


@cache
def called() -> tuple[str, ...]:
    """Every op with a module of its own in `spar_engine.ops` that registers variants, found by looking."""
    import spar_engine.ops

    found = []
    for info in pkgutil.iter_modules(spar_engine.ops.__path__):
        if info.name.startswith("torch"):
            continue  # compositions for export and training; they register no variants and need torch
        if hasattr(importlib.import_module(f"spar_engine.ops.{info.name}"), "variants"):
            found.append(info.name)
    return tuple(found)


def ops() -> list[str]:
    """Every op of the engine that can be measured: those above, and those that the native extension makes ready."""
    from spar_engine import _native

    return sorted({*called(), *_native.prepared_ops()})


@cache
def case(op: str) -> Case:
    """The case of `op`; an op without one is an InputError, for it could not be measured."""
    if op not in ops():
        raise InputError(f"op {op!r} is unknown; the engine has {', '.join(ops())}")
    try:
        return importlib.import_module(f"{__package__}.{op}").CASE
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{op}":
            raise
        raise InputError(f"op {op!r} has no benchmark; write bench/kernels/{op}.py with its CASE") from None


def cases() -> dict[str, Case]:
    return {op: case(op) for op in ops()}


@dataclass(frozen=True)
class Work:
    """One case at one size in one dtype: inputs as stored, and what is exact for them."""

    case: Case
    shape: Shape
    dtype: str

    @property
    def result_dtype(self) -> str:
        return "f32" if self.dtype == "f32" else "bf16"

    def inputs(self, seed: int) -> Inputs:
        """As an implementation gets them: `half` inputs rounded to bf16 unless the row is of f32, as bits in uint16."""
        # The weights are those of seed 0 whatever the seed: only what changes between calls differs.
        return self._weights | self.changing(seed)

    def changing(self, seed: int) -> Inputs:
        """Of these, what differs from call to call."""
        drawn = self._drawn(seed)
        return {name: self._stored(name, drawn[name]) for name in self.case.changing}

    def wide(self, seed: int) -> Inputs:
        """The same numbers as `inputs`, bf16 widened."""
        return {name: widen(value) for name, value in self.inputs(seed).items()}

    def _drawn(self, seed: int) -> Inputs:
        return self.case.make(np.random.default_rng(seed), **self.case.sizes(self.shape))

    def _stored(self, name: str, value: Any) -> Any:
        from spar_engine.weights.dtypes import to_bf16

        return to_bf16(value) if name in self.case.half and self.dtype != "f32" else value

    @cached_property
    def _weights(self) -> Inputs:
        drawn = self._drawn(0)
        return {name: self._stored(name, drawn[name]) for name in drawn if name not in self.case.changing}

    @cached_property
    def result_shape(self) -> tuple[int, ...]:
        return self.case.expected(self.wide(0), self.dtype).shape

    def empty_result(self) -> np.ndarray:
        return np.empty(self.result_shape, np.float32 if self.result_dtype == "f32" else np.uint16)

    def bytes(self) -> int:
        """Of every array once: the least that must move when nothing is in a cache."""
        arrays = {name: x for name, x in self.inputs(0).items() if isinstance(x, np.ndarray)}
        return sum(self._held(name, x) for name, x in arrays.items()) + self.empty_result().nbytes

    def _held(self, name: str, array: np.ndarray) -> int:
        if name in self.case.quantized and self.dtype in QUANTIZED:
            return round(array.size * QUANTIZED[self.dtype])
        return array.nbytes

    def flops(self) -> float:
        return float(self.case.flops(**self.case.sizes(self.shape)))


def widen(value: Any) -> Any:
    """bf16 bits as float32; anything else as it is."""
    from spar_engine.weights.dtypes import to_f32

    return to_f32(value, "BF16") if isinstance(value, np.ndarray) and value.dtype == np.uint16 else value
