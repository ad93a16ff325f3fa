"""Ops write into an array of the caller's, and refuse one that does not fit."""

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.ops import dynamic_token_routing as dtr
from spar_engine.ops import relu_linear_attention as rla
from spar_engine.oracle import dynamic_token_routing as dtr_oracle


def heads(seed):
    return np.random.default_rng(seed).standard_normal((1, 2, 9, 8), dtype=np.float32)


@pytest.mark.parametrize("variant", rla.variants())
def test_attention_fills_out_with_what_it_returns_otherwise(variant):
    query, key, value = heads(0), heads(1), heads(2)
    out = np.full_like(query, np.nan)
    returned = rla.relu_linear_attention(query, key, value, out=out, variant=variant)
    assert returned is out
    np.testing.assert_array_equal(out, rla.relu_linear_attention(query, key, value, variant=variant))


@pytest.mark.parametrize("variant", dtr.variants())
def test_routing_fills_out_with_what_it_returns_otherwise(variant):
    inputs = dtr_oracle.random_inputs(np.random.default_rng(0), 3, 7, 16)
    out = np.full((7, 16), np.nan, np.float32)
    assert dtr.dynamic_token_routing(**inputs, out=out, variant=variant) is out
    np.testing.assert_array_equal(out, dtr.dynamic_token_routing(**inputs, variant=variant))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (np.zeros((1, 2, 9, 7), np.float32), "head_dim=7"),
        (np.zeros((1, 2, 9, 8), np.uint16), "the result is float32"),
        (np.zeros((1, 2, 18, 8), np.float32)[:, :, ::2], "not contiguous"),
        (read_only(np.zeros((1, 2, 9, 8), np.float32)), "read-only"),
    ],
)
def test_out_that_does_not_fit_is_refused(out, says):
    with pytest.raises(InputError, match=says):
        rla.relu_linear_attention(heads(0), heads(1), heads(2), out=out)
