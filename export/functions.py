"""The operators of domain `spar`, version 1, each with its decomposition into standard operators.

A model carries the decomposition of every one that it uses as a model-local function. A runtime without our kernels
inlines them; one that has a kernel takes the node over. Sums are kept in float32 for every type of input.
"""

from __future__ import annotations

from functools import cache

from onnx import FunctionProto, parser

DOMAIN, VERSION = "spar", 1

_HEAD = '<domain: "spar", opset_import: ["" : {opset}]>\n'

_BODIES = {
    # levels [picks, tokens, width] -> routed [tokens, width]; spec 2.3.
    "DynamicTokenRouting": """
DynamicTokenRouting <temperature: float = 1.0>
    (levels, w1, b1, w2, b2, scales, norm_weight, norm_bias, proj_weight, proj_bias) => (routed)
{
    last_index = Constant <value_int: int = -1> ()
    last = Gather <axis: int = 0> (levels, last_index)
    hidden = Gemm <transB: int = 1> (last, w1, b1)
    gate = Sigmoid (hidden)
    active = Mul (hidden, gate)
    logits = Gemm <transB: int = 1> (active, w2, b2)
    logits_f32 = Cast <to: int = 1> (logits)
    tau = Constant <value_float: float = @temperature> ()
    cooled = Div (logits_f32, tau)
    weights = Softmax <axis: int = -1> (cooled)
    scales_f32 = Cast <to: int = 1> (scales)
    factors = Mul (weights, scales_f32)
    by_pick = Transpose <perm: ints = [1, 0]> (factors)
    last_axis = Constant <value_ints: ints = [-1]> ()
    columns = Unsqueeze (by_pick, last_axis)
    levels_f32 = Cast <to: int = 1> (levels)
    parts = Mul (levels_f32, columns)
    first_axis = Constant <value_ints: ints = [0]> ()
    mixed = ReduceSum <keepdims: int = 0> (parts, first_axis)
    norm_weight_f32 = Cast <to: int = 1> (norm_weight)
    norm_bias_f32 = Cast <to: int = 1> (norm_bias)
    normed_f32 = LayerNormalization <axis: int = -1, epsilon: float = 1e-5> (mixed, norm_weight_f32, norm_bias_f32)
    normed = CastLike (normed_f32, levels)
    routed = Gemm <transB: int = 1> (normed, proj_weight, proj_bias)
}""",
    # x [batch, rows, columns, channels] -> out [batch, rows, columns, channels / 2]; spec 4.5. Row 3 * y + x of weight
    # [9, channels] is a tap of the depthwise kernel; SiLU(x) has the type of x, everything after it is float32.
    "GlumbconvCore": """
GlumbconvCore <channels> (x, weight, bias) => (out)
{
    opened = Sigmoid (x)
    active = Mul (x, opened)
    active_f32 = Cast <to: int = 1> (active)
    picture = Transpose <perm: ints = [0, 3, 1, 2]> (active_f32)
    weight_f32 = Cast <to: int = 1> (weight)
    rows = Transpose <perm: ints = [1, 0]> (weight_f32)
    kernel_size = Constant <value_ints: ints = [-1, 1, 3, 3]> ()
    kernel = Reshape (rows, kernel_size)
    bias_f32 = Cast <to: int = 1> (bias)
    mixed = Conv <group: int = @channels, kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]>
        (picture, kernel, bias_f32)
    value, gate = Split <axis: int = 1, num_outputs: int = 2> (mixed)
    half_open = Sigmoid (gate)
    gated = Mul (gate, half_open)
    product = Mul (value, gated)
    last = Transpose <perm: ints = [0, 2, 3, 1]> (product)
    out = CastLike (last, x)
}""",
    # All [batch, heads, tokens, head_dim]; spec 4.5.
    "ReluLinearAttention": """
ReluLinearAttention <eps: float = 1e-15> (query, key, value) => (out)
{
    query_f32 = Cast <to: int = 1> (query)
    key_f32 = Cast <to: int = 1> (key)
    value_f32 = Cast <to: int = 1> (value)
    q = Relu (query_f32)
    k = Relu (key_f32)
    k_t = Transpose <perm: ints = [0, 1, 3, 2]> (k)
    state = MatMul (k_t, value_f32)
    last_axis = Constant <value_ints: ints = [-1]> ()
    total = ReduceSum <keepdims: int = 1> (k_t, last_axis)
    numerator = MatMul (q, state)
    denominator = MatMul (q, total)
    small = Constant <value_float: float = @eps> ()
    safe = Add (denominator, small)
    out_f32 = Div (numerator, safe)
    out = CastLike (out_f32, query)
}""",
}

NAMES = tuple(sorted(_BODIES))


@cache
def decomposition(name: str, opset: int) -> FunctionProto:
    """The function of one operator over the standard operators of version `opset`."""
    return parser.parse_function(_HEAD.format(opset=opset) + _BODIES[name])
