"""Every CUDA op on the CPU against its equation, and against itself with its threads in another order."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.oracle import cross_attention, dynamic_token_routing, relu_linear_attention

from .runners import (
    OPS,
    examples,
    run_cross_attention,
    run_gate,
    run_linear_attention,
    run_norm,
    run_resize,
    run_routing,
    run_step,
)

CASES = [(op, name) for op in OPS for name, _ in examples(op)]


@pytest.fixture(autouse=True)
def in_order(emulated):
    yield
    emulated.order(0)


@pytest.mark.parametrize(("op", "name"), CASES)
def test_equation_and_order_of_threads(emulated, op, name):
    """A value that is read before it was written, or after it was overwritten, depends on the order."""
    run, inputs = OPS[op][0], dict(examples(op))[name]
    first = run(emulated.ops, inputs)
    for order in (1, 20260):
        emulated.order(order)
        for one, other in zip(first, run(emulated.ops, inputs), strict=True):
            np.testing.assert_array_equal(one, other)
