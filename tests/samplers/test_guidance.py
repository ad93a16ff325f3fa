"""Classifier-free guidance."""

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.samplers import branches, check_scale, guide


@pytest.mark.parametrize("model", ["spar-tiny", "unilip-tiny"])
@pytest.mark.parametrize("name", ["t2i_0", "edit"])
def test_golden_guided_velocity(model, name, golden_tensors, golden_note, golden_tolerance):
    want = golden_tensors(f"{model}/{name}")
    scale = golden_note(f"{model}/{name}")["guidance_scale"]
    bound = golden_tolerance(f"{model}/{name}", "guided")["atol"]
    for uncond, cond, guided in zip(want["uncond"], want["cond"], want["guided"], strict=True):
        got = guide(np.concatenate([uncond, cond]), scale)
        assert got.dtype == np.float32
        assert np.abs(got - guided).max() <= min(bound, 1e-6 * np.abs(guided).max())


def test_scale_one_follows_the_condition_alone():
    velocity = np.random.default_rng(0).standard_normal((3, 2, 2), dtype=np.float32)
    assert branches(1.0) == branches(1) == 1
    np.testing.assert_array_equal(guide(velocity, 1.0), velocity)


def test_order_is_unconditional_first_for_a_batch_of_pictures():
    velocity = np.arange(4, dtype=np.float32).reshape(4, 1) * np.ones((1, 3), np.float32)
    assert branches(2.0) == 2
    np.testing.assert_array_equal(guide(velocity, 2.0)[:, 0], [0 + 2 * (2 - 0), 1 + 2 * (3 - 1)])
    np.testing.assert_array_equal(guide(velocity, 0.0)[:, 0], [0, 1])
    np.testing.assert_array_equal(guide(velocity, -1.0)[:, 0], [-2, -1])


def test_odd_number_of_rows():
    with pytest.raises(InputError, match="3 rows"):
        guide(np.zeros((3, 2), np.float32), 4.5)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf"), 1e39, "4.5", None, True, 1j, 10**39])
def test_bad_scale(scale):
    with pytest.raises(InputError, match=r"guidance_scale=.* is not a finite number; the usual value is 4\.5"):
        check_scale(scale)


@pytest.mark.parametrize("scale", [0, 1, 4.5, -2.0, np.float32(3.5), np.int64(7), 1e38])
def test_good_scale(scale):
    assert check_scale(scale) == scale
    assert type(check_scale(scale)) is float
