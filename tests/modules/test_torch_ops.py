"""The torch operators against the float64 oracles, their gradients and their fake kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spar_engine.modules.decoder import quadratic
from spar_engine.ops.torch_ops import dynamic_token_routing, linear_attention, relu_linear_attention, route_tokens
from spar_engine.oracle import dynamic_token_routing as routing_oracle
from spar_engine.oracle import relu_linear_attention as attention_oracle

ATTENTION = dict(attention_oracle.examples(np.random.default_rng(3)))
ROUTING = dict(routing_oracle.examples(np.random.default_rng(4)))
ORDER = ("levels", "w1", "b1", "w2", "b2", "scales", "norm_weight", "norm_bias", "proj_weight", "proj_bias")


def routing_arguments(inputs, dtype=torch.float32):
    return *(torch.from_numpy(inputs[name]).to(dtype) for name in ORDER), float(inputs.get("temperature", 1.0))


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    inputs = ATTENTION[name]
    got = relu_linear_attention(*(torch.from_numpy(inputs[part]) for part in ("query", "key", "value")))
    attention_oracle.check_result(got.numpy(), inputs)


@pytest.mark.parametrize("name", ROUTING)
def test_routing(name):
    if ROUTING[name].get("eps", 1e-5) != 1e-5:
        pytest.skip("the operator's epsilon is the model's")
    logits, weights, mixed, _ = route_tokens(*routing_arguments(ROUTING[name]))
    routed = dynamic_token_routing(*routing_arguments(ROUTING[name]))
    routing_oracle.check_result(routed.numpy(), weights.numpy(), ROUTING[name])
    assert logits.shape == weights.shape
    assert mixed.shape == routed.shape


def test_the_explicit_form_is_the_same_function():
    query, key, value = torch.randn(3, 2, 3, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    explicit, linear = quadratic(query, key, value), linear_attention(query, key, value)
    torch.testing.assert_close(explicit, linear, rtol=0, atol=16 * 2.0**-53 * float(value.abs().max()))


def test_sums_of_bf16_are_float32():
    """4096 equal keys: a bf16 state would stop growing at 256."""
    ones = torch.ones(1, 1, 4096, 8, dtype=torch.bfloat16)
    value = torch.zeros_like(ones)
    value[..., :2048, :] = 1
    got = relu_linear_attention(ones, ones, value)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, torch.full_like(got, 0.5))


def test_attention_as_an_operator():
    """Schema, fake kernel, gradient registration and dynamic shapes."""
    with torch.inference_mode(False):
        inputs = [torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
        torch.library.opcheck(relu_linear_attention, inputs)
        assert torch.autograd.gradcheck(relu_linear_attention, inputs)


def test_routing_as_an_operator():
    with torch.inference_mode(False):
        inputs = routing_oracle.random_inputs(np.random.default_rng(5), 3, 4, 6)
        *tensors, _ = routing_arguments(inputs, torch.float64)
        tensors = [tensor.requires_grad_() for tensor in tensors]
        torch.library.opcheck(dynamic_token_routing, (*tensors, 0.7))
        assert torch.autograd.gradcheck(lambda *args: dynamic_token_routing(*args, 0.7), tensors)


def test_gradients_stop_where_none_is_asked_for():
    with torch.inference_mode(False):
        query, key, value = (torch.rand(1, 1, 3, 2) for _ in range(3))
        key.requires_grad_()
        relu_linear_attention(query, key, value).sum().backward()
        assert query.grad is None
        assert key.grad.abs().max() > 0
