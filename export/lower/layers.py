"""Operators with parameters, attention, and our own domain."""

from __future__ import annotations

import numpy as np
import spar_engine.ops.torch_ops  # noqa: F401  (registers torch.ops.spar)
import torch

from ..errors import LoweringError
from ..functions import DOMAIN
from .graph import elements
from .program import Lowered, argument, dims, lowers

aten = torch.ops.aten


@lowers(aten.linear.default)
def linear(state: Lowered, node: torch.fx.Node) -> str:
    """Gemm over rows: it takes the weight as stored, while a MatMul would need a transposed copy of it at loading."""
    source, weight, bias = (*node.args, None)[:3]
    have, want, graph = dims(source), dims(node), state.graph
    rows = elements(have[:-1])
    flat = graph.reshape(state.value(source), have, (rows, have[-1]))
    parameters = [state.value(weight)] + ([] if bias is None else [state.value(bias)])
    product = graph.op("Gemm", flat, *parameters, transB=1)
    return graph.reshape(product, (rows, want[-1]), want)


@lowers(aten.matmul.default)
def matmul(state: Lowered, node: torch.fx.Node) -> str:
    return state.graph.op("MatMul", *map(state.value, node.args))


@lowers(aten.conv2d.default)
def conv2d(state: Lowered, node: torch.fx.Node) -> str:
    source, weight, bias = (*node.args, None)[:3]
    stride, padding, dilation = (
        argument(node, i, name) for i, name in ((3, "stride"), (4, "padding"), (5, "dilation"))
    )
    stride, padding, dilation = list(stride or (1, 1)), list(padding or (0, 0)), list(dilation or (1, 1))
    group, kernel = argument(node, 6, "groups", 1), list(dims(weight)[2:])
    if group == 1 and kernel == stride == [1, 1] and padding == [0, 0] and _beside_tokens(node):
        return _pointwise(state, node, source, weight, bias)
    given = [state.value(source), state.value(weight)] + ([] if bias is None else [state.value(bias)])
    return state.graph.op("Conv", *given, strides=stride, pads=padding * 2, dilations=dilation, group=group,
                          kernel_shape=kernel)  # fmt: skip


def _beside_tokens(node: torch.fx.Node) -> bool:
    """Whether the picture comes from a list of tokens, or only becomes one."""

    def turned(other: torch.fx.Node) -> bool:
        return other.target is aten.transpose.int and set(other.args[1:]) == {1, 2}

    def flat(other: torch.fx.Node) -> bool:
        return other.target is aten.flatten.using_ints and len(dims(other)) == 3

    source = node.args[0]
    if source.target is aten.unflatten.int and turned(source.args[0]):
        return True
    users = [user for user in node.users if user.op != "output"]
    return len(users) == 1 and flat(users[0]) and all(map(turned, users[0].users))


def _pointwise(state: Lowered, node: torch.fx.Node, source, weight, bias) -> str:
    """A 1x1 convolution as Gemm over tokens. The runtime would keep a second, blocked copy of a Conv's weight while
    loading (1.8 times the DiT in all), for 4 % of a step."""
    graph, have, want = state.graph, dims(source), dims(node)
    pixels = elements(have[2:])
    tokens = graph.transpose(graph.reshape(state.value(source), have, (*have[:2], pixels)), (0, 2, 1))
    rows = graph.reshape(tokens, (have[0], pixels, have[1]), (have[0] * pixels, have[1]))
    given = [graph.reshape(state.value(weight), dims(weight), dims(weight)[:2])]
    given += [] if bias is None else [state.value(bias)]
    product = graph.op("Gemm", rows, *given, transB=1)
    made = graph.reshape(product, (have[0] * pixels, want[1]), (want[0], pixels, want[1]))
    return graph.reshape(graph.transpose(made, (0, 2, 1)), (*want[:2], pixels), want)


@lowers(aten.layer_norm.default)
def layer_norm(state: Lowered, node: torch.fx.Node) -> str:
    source, shape = node.args[:2]
    weight, bias, eps = (argument(node, i, name) for i, name in ((2, "weight"), (3, "bias"), (4, "eps")))
    graph = state.graph
    scale = graph.constant(np.ones(shape), np.float32) if weight is None else state.value(weight)
    shift = [] if bias is None else [state.value(bias)]
    return graph.op("LayerNormalization", state.value(source), scale, *shift, axis=-len(shape), epsilon=eps)


@lowers(aten.scaled_dot_product_attention.default)
def attention(state: Lowered, node: torch.fx.Node) -> str:
    """Softmax attention [batch, heads, tokens, head_dim]; the query is scaled, as its tokens are the fewer elements."""
    query, key, value = node.args[:3]
    bias = argument(node, 3, "attn_mask")
    if argument(node, 5, "is_causal", False) or argument(node, 6, "scale") is not None:
        raise LoweringError(f"{node.name}: attention with is_causal or scale has no lowering; give a mask")
    graph = state.graph
    scale = graph.constant(dims(query)[-1] ** -0.5, np.float32)
    scaled = graph.op("Mul", state.value(query), scale)
    logits = graph.op("MatMul", scaled, graph.transpose(state.value(key), [0, 1, 3, 2]))
    if bias is not None:
        logits = graph.op("Add", logits, state.value(bias))
    return graph.op("MatMul", graph.op("Softmax", logits, axis=-1), state.value(value))


@lowers(torch.ops.spar.dynamic_token_routing.default)
def dynamic_token_routing(state: Lowered, node: torch.fx.Node) -> str:
    *tensors, temperature = node.args
    return state.graph.op(
        "DynamicTokenRouting", *map(state.value, tensors), domain=DOMAIN, temperature=float(temperature)
    )


@lowers(torch.ops.spar.relu_linear_attention.default)
def relu_linear_attention(state: Lowered, node: torch.fx.Node) -> str:
    eps = float(argument(node, 3, "eps", 1e-15))
    return state.graph.op("ReluLinearAttention", *map(state.value, node.args[:3]), domain=DOMAIN, eps=eps)
