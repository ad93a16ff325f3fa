"""The oracle of rows in float8 against all numbers that the format has, and what its check lets through."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.oracle import bounds, quantize_rows
from spar_engine.oracle.check import MismatchError
from spar_engine.weights.dtypes import to_f32

NUMBERS = to_f32(np.arange(0x7F, dtype=np.uint8), "F8_E4M3").astype(np.float64)  # from 0 to 448, in their order


def test_nearest_is_the_nearest_of_all_numbers():
    middles = (NUMBERS[1:] + NUMBERS[:-1]) / 2
    drawn = np.random.default_rng(1).uniform(0, 460, 500)
    for x in np.concatenate((NUMBERS, middles, drawn, drawn * 2.0**-12)):
        distance = np.abs(NUMBERS - x)
        best = np.flatnonzero(distance == distance.min())
        even = best[best % 2 == 0] if len(best) == 2 else best  # of two as near, the one whose last bit is 0
        assert quantize_rows.nearest(np.array([x, -x])).tolist() == [NUMBERS[even[0]], -NUMBERS[even[0]]]


def test_spacing_is_the_distance_of_neighbours():
    np.testing.assert_array_equal(quantize_rows.spacing(NUMBERS[:-1]), np.diff(NUMBERS))


@pytest.mark.parametrize("name", [name for name, _ in quantize_rows.examples(np.random.default_rng(3))])
def test_the_equation_passes_its_own_check_and_others_do_not(name):
    x = dict(quantize_rows.examples(np.random.default_rng(3)))[name]["x"]
    products, scales = quantize_rows.quantize_rows(x)
    with np.errstate(invalid="ignore"):
        values = products / scales[:, None]
    quantize_rows.check_result(values, scales, {"x": x})
    if not x.size:
        return
    wrong = {
        "next number": np.where(values == values.flat[0], values + quantize_rows.spacing(np.abs(values)), values),
        "zero": np.zeros_like(values), "other sign": -values,
    }  # fmt: skip
    for changed in wrong.values() if np.abs(x[0]).max() > 2.0**-100 else ():  # smaller rows are all zeros
        with pytest.raises(MismatchError):
            quantize_rows.check_result(changed, scales, {"x": x})
    with pytest.raises(MismatchError, match="scales"):
        quantize_rows.check_result(values, scales * 1.001, {"x": x})


def test_an_error_of_what_is_quantised_is_allowed_for_and_no_more():
    x = quantize_rows.random_inputs(np.random.default_rng(2), 3, 64)["x"]
    for error, passes in ((1e-2, True), (1e-4, False)):
        moved = x + 5e-3
        products, scales = quantize_rows.quantize_rows(moved)
        exact = bounds.Bounded(x.astype(np.float64), np.full(x.shape, error))
        if passes:
            quantize_rows.check_rows(products / scales[:, None], scales, exact)
        else:
            with pytest.raises(MismatchError):
                quantize_rows.check_rows(products / scales[:, None], scales, exact)
