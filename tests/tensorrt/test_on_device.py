"""Values of the TensorRT backend that stay on a GPU, over a stand-in for it."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.backends.plans.lane import OnDevice
from spar_engine.weights.dtypes import to_bf16, to_f32

from . import fake


def test_parts_and_sums_of_what_stays_are_those_of_its_array():
    """As numpy has them; on the GPU where the memory is in one piece, an array else."""
    device, rng = fake.FakeDevice(), np.random.default_rng(0)
    bits = [to_bf16(rng.standard_normal((3, rows, 4), dtype=np.float32)) for rows in (2, 5, 0)]
    values, floats = [fake.there(device, one) for one in bits], [to_f32(one, "BF16") for one in bits]
    for axis, (parts, plain) in {
        1: ([values[0], values[1], values[2]], [floats[0], floats[1], floats[2]]),
        0: ([floats[1], values[1]], [floats[1], floats[1]]),
        2: ([values[0], floats[0], values[0]], [floats[0], floats[0], floats[0]]),
    }.items():
        made = np.concatenate(parts, axis=axis)
        assert isinstance(made, OnDevice)
        assert (made.kind, made.nbytes) == (np.uint16, 2 * np.concatenate(plain, axis).size)
        assert np.array_equal(np.asarray(made), np.concatenate(plain, axis=axis))
    for where, stays in ((1, True), (np.s_[-1, 1:], True), (np.s_[None, 1], True), (np.s_[:, 0], False),
                         (np.s_[..., :2], False), ([2, 0], False), (np.s_[1:1], True)):  # fmt: skip
        part = values[1][where]
        assert isinstance(part, OnDevice) == stays, where
        assert np.array_equal(np.asarray(part), floats[1][where]), where
    with pytest.raises(ValueError, match="differ in more than axis 0"):
        np.concatenate(values)
    part = values[1][1][2:]
    values.clear()
    assert np.array_equal(np.asarray(part), floats[1][1][2:]), "freed while a part of it was held"
    del part, parts, made
    assert device.live == {}
