"""A case says what an op is asked in practice, how much work that is, and what its plain form looks like to a peer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from spar_engine.config import ModelConfig, preset, presets
from spar_engine.errors import InputError

PROMPT = 32  # tokens of a usual prompt beside the latent queries
STEPS = 20

Inputs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One size of an op. `calls` is how often it runs in one 512-pixel picture of `preset` with guidance, 20 steps."""

    preset: str  # where it comes from, or "large" for token counts beyond the presets
    sizes: tuple[int, ...]
    calls: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the runner needs to know of an op.

    op           name of the op; `spar_engine.ops.<op>` and `spar_engine.oracle.<op>` are its modules
    axes         names of the sizes of a shape
    shapes       from a model's configuration to the shapes it asks for
    large        further shapes, beyond the presets
    changing     inputs that differ from call to call; the others are weights, packed or frozen by whoever likes to
    half         inputs stored in the row's dtype; the others stay float32
    dtypes       of the rows
    make         (rng, **sizes) -> inputs, float32 and numbers
    expected     inputs -> exact result, float64
    bound        (inputs, dtype) -> largest allowed error of a float32-accumulating implementation, element by element
    plain        inputs as torch tensors -> result: the op as a composition of torch functions
    terms        (**sizes) -> longest sum
    flops        (**sizes) -> multiply-adds twice; transcendental functions are not counted
    """

    op: str
    axes: tuple[str, ...]
    shapes: Callable[[ModelConfig], list[Shape]]
    large: tuple[Shape, ...] = ()
    changing: tuple[str, ...]
    half: tuple[str, ...]
    dtypes: tuple[str, ...] = ("f32", "bf16")
    make: Callable[..., Inputs]
    expected: Callable[[Inputs], np.ndarray]
    bound: Callable[[Inputs, str], np.ndarray]
    plain: Callable[..., Any]
    terms: Callable[..., int]
    flops: Callable[..., float]

    def all_shapes(self) -> list[Shape]:
        """Of every preset, then the large ones; a shape that two presets share is listed once, under the first."""
        found: dict[tuple[int, ...], Shape] = {}
        for name in presets():
            for shape in self.shapes(preset(name)):
                found.setdefault(shape.sizes, shape)
        for shape in self.large:
            found.setdefault(shape.sizes, shape)
        return list(found.values())

    def sizes(self, shape: Shape) -> dict[str, int]:
        return dict(zip(self.axes, shape.sizes, strict=True))

    def module(self) -> Any:
        """`spar_engine.ops.<op>`: the call under the op's name, and `variants()`."""
        return importlib.import_module(f"spar_engine.ops.{self.op}")

    def variants(self) -> list[str]:
        """Implementations that this machine runs, best first."""
        return self.module().variants()


def ops() -> list[str]:
    """Every op of the engine that registers variants, found by looking."""
    import spar_engine.ops

    found = []
    for info in pkgutil.iter_modules(spar_engine.ops.__path__):
        if info.name.startswith("torch"):
            continue  # compositions for export and training; they register no variants and need torch
        if hasattr(importlib.import_module(f"spar_engine.ops.{info.name}"), "variants"):
            found.append(info.name)
    return found


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


def total_bytes(inputs: Mapping[str, Any], result: np.ndarray) -> int:
    """Bytes of every array once: the least that must move when nothing is in a cache."""
    return sum(x.nbytes for x in inputs.values() if isinstance(x, np.ndarray)) + result.nbytes


@dataclass(frozen=True)
class Work:
    """One case at one size in one dtype: inputs as stored, and what is exact for them."""

    case: Case
    shape: Shape
    dtype: str

    def inputs(self, seed: int) -> Inputs:
        """As an implementation gets them: `half` inputs rounded to the row's dtype, bf16 as bits in uint16."""
        from spar_engine.weights.dtypes import to_bf16

        # The weights are those of seed 0 whatever the seed: only what changes between calls differs.
        base = self._weights | {name: self._drawn(seed)[name] for name in self.case.changing}
        if self.dtype == "f32":
            return base
        return {name: to_bf16(value) if name in self.case.half else value for name, value in base.items()}

    def wide(self, seed: int) -> Inputs:
        """The same numbers, bf16 widened."""
        return {name: widen(value) for name, value in self.inputs(seed).items()}

    def _drawn(self, seed: int) -> Inputs:
        return self.case.make(np.random.default_rng(seed), **self.case.sizes(self.shape))

    @cached_property
    def _weights(self) -> Inputs:
        return {name: value for name, value in self._drawn(0).items() if name not in self.case.changing}

    @cached_property
    def result_shape(self) -> tuple[int, ...]:
        return self.case.expected(self.wide(0)).shape

    def empty_result(self) -> np.ndarray:
        return np.empty(self.result_shape, np.float32 if self.dtype == "f32" else np.uint16)

    def bytes(self) -> int:
        return total_bytes(self.inputs(0), self.empty_result())

    def flops(self) -> float:
        return float(self.case.flops(**self.case.sizes(self.shape)))


def widen(value: Any) -> Any:
    """bf16 bits as float32; anything else as it is."""
    from spar_engine.weights.dtypes import to_f32

    return to_f32(value, "BF16") if isinstance(value, np.ndarray) and value.dtype == np.uint16 else value
