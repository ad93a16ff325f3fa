"""Products in float8, and the fused operators in torch against the oracles."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from spar_engine.modules.fused import linear
from spar_engine.modules.fused.table import TorchOps

LEAST = 2.0**-10  # half of the smallest step of e4m3
UNIT = 2.0**-4  # its unit roundoff


def test_rows_become_e4m3_within_a_unit():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(9, 64, generator=rng) * torch.logspace(-6, 6, 9)[:, None]
    x[4] = 0
    quantised, scale = linear.to_e4m3(x)
    assert quantised.dtype == torch.float8_e4m3fn
    assert scale.shape == (9, 1)
    assert (scale[4] == linear.LEAST_ROW / linear.E4M3_LARGEST).all()
    assert not quantised[4].float().any()
    largest = quantised.float().abs().amax(-1)
    assert (largest[torch.arange(9) != 4] == linear.E4M3_LARGEST).all()
    error = (quantised.double() * scale.double() - x.double()).abs()
    assert (error <= UNIT * (1 + 2.0**-20) * x.double().abs() + LEAST * scale.double()).all()


def bound(x, w):
    """|fp8 product - exact| for factors within a unit of theirs, summed in float32, stored in bf16."""

    def parts(matrix):
        scale = np.abs(matrix).max(-1, keepdims=True) / linear.E4M3_LARGEST
        return np.abs(matrix), UNIT * (1 + 2.0**-20) * np.abs(matrix) + LEAST * scale

    (x, x_off), (w, w_off) = parts(x), parts(w)
    most = (x + x_off) @ (w + w_off).T
    return (most - x @ w.T) + (x.shape[-1] * 2.0**-23 + 2.0**-8) * most


@pytest.mark.parametrize("bias", [False, True])
def test_an_fp8_product_is_within_its_bound(bias):
    rng = np.random.default_rng(3)
    x, w, b = rng.standard_normal((21, 48)), rng.standard_normal((32, 48)) / 7, rng.standard_normal(32)
    x[3] *= 1000
    x, w, b = (torch.from_numpy(each).bfloat16() for each in (x, w, b))
    product = linear.Fp8Linear(w, b if bias else None, TorchOps())
    got = product(x.view(3, 7, 48)).double().numpy().reshape(21, 32)
    exact = x.double().numpy() @ w.double().numpy().T
    allowed = bound(x.double().numpy(), w.double().numpy())
    if bias:
        exact, allowed = (
            exact + b.double().numpy(),
            allowed + 2.0**-7 * (np.abs(exact) + allowed + np.abs(b.double().numpy())),
        )
    assert (np.abs(got - exact) <= allowed).all()
    coarse = (x.double().numpy() @ w.double().numpy().T)[3] / 1000  # a row keeps its own scale
    assert np.abs(got[3] / 1000 - coarse).max() < 0.05 * np.abs(coarse).max() + 0.01


def test_which_weights_fit():
    assert linear.fits_fp8(torch.empty(32, 48))
    assert not linear.fits_fp8(torch.empty(32, 40))
    assert not linear.fits_fp8(torch.empty(8, 48))


CALLS = {
    "relu_linear_attention": lambda ops, query, key, value: ops.relu_linear_attention(query, key, value),
    "cross_attention": lambda ops, query, keys, values, lengths: ops.cross_attention(query, keys, values, lengths),
    "layer_norm_modulate": lambda ops, x, shift, scale: ops.layer_norm_modulate(x, shift, scale, 1e-6),
    "gate_residual": lambda ops, x, y, shift, scale, gate: ops.gate_residual(x, y, gate),
    "glumbconv_core": lambda ops, x, weight, bias: ops.glumbconv_core(x, weight, bias),
}
EXAMPLES = {"relu_linear_attention": "odd-sizes", "cross_attention": "head-72", "layer_norm_modulate": "odd-eights",
            "gate_residual": "odd-eights", "glumbconv_core": "small-picture"}  # fmt: skip


@pytest.mark.parametrize("op", CALLS)
def test_the_torch_form_keeps_the_bound_of_the_kernels(op):
    """Derived for float32 sums in any order; what lies beyond a prompt's end may not be NaN for torch."""
    oracle = importlib.import_module(f"spar_engine.oracle.{op}")
    inputs = dict(oracle.examples(np.random.default_rng(3)))[EXAMPLES[op]]
    for name in ("keys", "values"):
        if name in inputs:
            inputs[name] = np.nan_to_num(inputs[name], nan=0.0)
    given = {name: torch.from_numpy(np.asarray(value)) for name, value in inputs.items()}
    oracle.check_result(CALLS[op](TorchOps(torch.float32), **given).numpy(), inputs)


def test_the_last_of_two_halves_and_the_norm_of_a_sum():
    oracle = importlib.import_module("spar_engine.oracle.gate_residual")
    inputs = dict(oracle.examples(np.random.default_rng(3)))["narrow"]
    x, y, gate, shift, scale = (torch.from_numpy(inputs[name]) for name in ("x", "y", "gate", "shift", "scale"))
    total, normed = TorchOps(torch.float32).gate_residual_norm(x, y, gate, shift, scale, 1e-6)
    oracle.check_result(total.numpy(), inputs, normed=normed.numpy())
