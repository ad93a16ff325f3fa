"""Depthwise 3x3 and gate of GLUMBConv in the DiT and the decoder (spec 4.5, 3.4).

The SiLU before it is done where the product before it ends, in `packed_product` with act=1."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import depthwise_glu as oracle

from .case import STEPS, Case, Shape

EXPANSION = 4  # hidden channels of the decoder's GLUMBConv over its channels


def _make(rng: Any, pictures: int, height: int, width: int, hidden: int) -> dict[str, Any]:
    return oracle.random_inputs(rng, pictures, height, width, hidden)  # whose sizes have other names


def _shapes(config: ModelConfig) -> list[Shape]:
    dit, decoder = config.dit, config.decoder
    found = [Shape(config.name, (2, dit.sample_size, dit.sample_size, dit.mlp_width), STEPS * dit.depth)]
    for stage, channels in enumerate(decoder.channels):
        if decoder.attention[stage]:
            side = dit.sample_size * decoder.upscale >> stage
            found.append(Shape(config.name, (1, side, side, EXPANSION * channels), decoder.depths[stage]))
    return found


def _plain(x: Any, weight: Any, bias: Any) -> Any:
    import torch.nn.functional as nn

    # The picture's own layout, channels last, is what its convolution prefers.
    y = nn.conv2d(x.permute(0, 3, 1, 2), weight.t().reshape(-1, 1, 3, 3), bias, padding=1, groups=x.shape[-1])
    value, gate = y.chunk(2, dim=1)
    return (value * nn.silu(gate)).permute(0, 2, 3, 1).contiguous()


def _graph(pictures: int, height: int, width: int, hidden: int) -> str:
    return f"""(x, weight, bias) => (out) {{
        picture = Transpose <perm: ints = [0, 3, 1, 2]> (x)
        rows = Transpose <perm: ints = [1, 0]> (weight)
        shape = Constant <value_ints: ints = [-1, 1, 3, 3]> ()
        kernel = Reshape (rows, shape)
        mixed = Conv <group: int = {2 * hidden}, kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]>
            (picture, kernel, bias)
        value, gate = Split <axis: int = 1, num_outputs: int = 2> (mixed)
        half = Sigmoid (gate)
        open = Mul (gate, half)
        last = Mul (value, open)
        out = Transpose <perm: ints = [0, 2, 3, 1]> (last)
    }}"""


CASE = Case(
    op="depthwise_glu",
    kernels=("depthwise",),
    axes=("pictures", "height", "width", "hidden"),
    shapes=_shapes,
    large=(Shape("large", (2, 64, 64, 2880)),),  # a 2048-pixel picture
    changing=("x",),
    half=("x",),
    inside=("bf16",),  # the value is rounded before it is gated
    make=_make,
    expected=lambda inputs, dtype: oracle.depthwise_glu(**inputs),
    bound=lambda inputs, dtype: oracle.bound(inputs, dtype, held=dtype),
    plain=_plain,
    graph=_graph,
    terms=lambda pictures, height, width, hidden: 10,
    flops=lambda pictures, height, width, hidden: pictures * height * width * hidden * (2 * 2 * 9 + 2 + 2),
)
