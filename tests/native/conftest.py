"""Fixtures of the native backend's tests: every instruction set of this machine, and the compiled extension."""

from __future__ import annotations

import numpy as np
import pytest

_native = pytest.importorskip("spar_engine._native")
ISAS = (*_native.native_isas(), "emulated_amx")


@pytest.fixture
def native():
    return _native


@pytest.fixture(params=ISAS)
def isa(request):
    """Each instruction set in turn, forced."""
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20260)


def pytest_make_parametrize_id(config, val, argname):
    return "x".join(map(str, val)) if isinstance(val, tuple) and all(isinstance(v, int) for v in val) else None
