"""Deliberately broken copies of every CUDA kernel: each must be caught by the checks that pass the kernel itself."""

from __future__ import annotations

import pytest
from spar_engine.errors import BackendError
from spar_engine.oracle.check import MismatchError

from .broken import BROKEN
from .building import Emulated, build, kernel, replaced
from .devices import StrayWriteError
from .runners import OPS, examples


def test_every_op_is_broken_somehow():
    assert set(BROKEN) == set(OPS)


@pytest.mark.parametrize(("op", "name"), [(op, name) for op in BROKEN for name in BROKEN[op]])
def test_a_broken_kernel_is_caught(build_folder, op, name):
    source = kernel(op)
    broken = Emulated(build(build_folder, {source: replaced(source, *BROKEN[op][name])}))
    for _, inputs in examples(op):
        for order in (0, 1):
            broken.order(order)
            try:
                OPS[op][0](broken.ops, inputs)
            except (MismatchError, StrayWriteError, BackendError):
                return
    pytest.fail(f"{op}, {name}: every example passes")
