"""Torch custom operators of domain `spar`, which export maps onto nodes of the same name.

Each is its plain composition of torch functions wrapped as one operator. Training and references call the compositions;
the operators have gradients too, by running the composition again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over `dtype` are kept: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def route_tokens(
    levels: torch.Tensor,
    w1: torch.Tensor,
    b1: torch.Tensor,
    w2: torch.Tensor,
    b2: torch.Tensor,
    scales: torch.Tensor,
    norm_weight: torch.Tensor,
    norm_bias: torch.Tensor,
    proj_weight: torch.Tensor,
    proj_bias: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Dynamic Token Routing (spec 2.3) with its inner values.

    levels   [picks, tokens, width]; the last one also drives the router
    w1, w2   [width // 2, width], [picks, width // 2] and their biases
    scales   [picks]; norm_* [width]; proj_* [width, width], [width]
    returns  logits before the temperature and weights, [tokens, picks]; their mix and the result, [tokens, width]
    """
    dtype, sums = levels.dtype, wide(levels.dtype)
    logits = F.linear(F.silu(F.linear(levels[-1], w1, b1)), w2, b2)
    weights = torch.softmax(logits.to(sums) / temperature, dim=-1)
    factors = (weights * scales.to(sums)).t().unsqueeze(-1)
    mixed = (factors * levels.to(sums)).sum(0)
    normed = F.layer_norm(mixed, mixed.shape[-1:], norm_weight.to(sums), norm_bias.to(sums), 1e-5)
    return logits, weights.to(dtype), mixed.to(dtype), F.linear(normed.to(dtype), proj_weight, proj_bias)


def linear_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, eps: float = 1e-15) -> torch.Tensor:
    """ReLU linear attention, all inputs and the result [batch, heads, tokens, head_dim] (spec 4.5).

    Weights relu(q) . relu(k), normalised over the keys; the state is summed in at least float32.
    """
    dtype, sums = query.dtype, wide(query.dtype)
    query, key, value = F.relu(query).to(sums), F.relu(key).to(sums), value.to(sums)
    state = key.transpose(-1, -2) @ F.pad(value, (0, 1), value=1.0)
    result = query @ state
    return (result[..., :-1] / (result[..., -1:] + eps)).to(dtype)


@torch.library.custom_op("spar::dynamic_token_routing", mutates_args=())
def dynamic_token_routing(
    levels: torch.Tensor,
    w1: torch.Tensor,
    b1: torch.Tensor,
    w2: torch.Tensor,
    b2: torch.Tensor,
    scales: torch.Tensor,
    norm_weight: torch.Tensor,
    norm_bias: torch.Tensor,
    proj_weight: torch.Tensor,
    proj_bias: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """`route_tokens` as one operator: levels [picks, tokens, width] -> routed [tokens, width]."""
    args = (levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight, proj_bias)
    return route_tokens(*args, temperature)[-1]


@torch.library.custom_op("spar::relu_linear_attention", mutates_args=())
def relu_linear_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, eps: float = 1e-15
) -> torch.Tensor:
    """`linear_attention` as one operator: [batch, heads, tokens, head_dim] each -> the same."""
    return linear_attention(query, key, value, eps)


@dynamic_token_routing.register_fake
def _(levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight, proj_bias, temperature):
    return levels.new_empty(levels.shape[1], proj_weight.shape[0])


@relu_linear_attention.register_fake
def _(query, key, value, eps=1e-15):
    return query.new_empty(query.shape)


def _differentiable(operator, composition, tensors: int) -> None:
    """Give `operator` the gradient of `composition`, whose first arguments, `tensors` of them, are tensors."""

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:tensors])
        ctx.others = inputs[tensors:]

    def backward(ctx, gradient):
        with torch.enable_grad():
            needed = ctx.needs_input_grad[:tensors]
            inputs = [x.detach().requires_grad_(n) for x, n in zip(ctx.saved_tensors, needed, strict=True)]
            output = composition(*inputs, *ctx.others)
            wanted = [x for x in inputs if x.requires_grad]
            found = iter(torch.autograd.grad(output, wanted, gradient))
        return (*(next(found) if x.requires_grad else None for x in inputs), *(None for _ in ctx.others))

    operator.register_autograd(backward, setup_context=setup)


_differentiable(dynamic_token_routing, lambda *args: route_tokens(*args)[-1], 10)
_differentiable(relu_linear_attention, linear_attention, 3)
