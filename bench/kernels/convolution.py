"""3x3 convolutions of the decoder's residual blocks (spec 3.4): in the native backend products of gathered rows."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import convolution as oracle

from .case import Case, Shape


def _shapes(config: ModelConfig) -> list[Shape]:
    decoder, found = config.decoder, []
    for stage, channels in enumerate(decoder.channels):
        if not decoder.attention[stage]:
            side = config.dit.sample_size * decoder.upscale >> stage
            found.append(Shape(config.name, (1, side, side, channels, channels), 2 * decoder.depths[stage]))
    return found


def _plain(x: Any, weight: Any, bias: Any) -> Any:
    import torch.nn.functional as nn

    return nn.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1).permute(0, 2, 3, 1).contiguous()


def _graph(pictures: int, height: int, width: int, channels: int, columns: int) -> str:
    return """(x, weight, bias) => (out) {
        picture = Transpose <perm: ints = [0, 3, 1, 2]> (x)
        mixed = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]> (picture, weight, bias)
        out = Transpose <perm: ints = [0, 2, 3, 1]> (mixed)
    }"""


def _flops(pictures: int, height: int, width: int, channels: int, columns: int) -> float:
    return 2 * 9 * pictures * height * width * channels * columns


CASE = Case(
    op="convolution",
    kernels=("gemm",),
    axes=("pictures", "height", "width", "channels", "columns"),
    shapes=_shapes,
    changing=("x",),
    half=("x", "weight"),
    make=oracle.random_inputs,
    expected=lambda inputs, dtype: oracle.convolution(**inputs),
    bound=oracle.bound,
    plain=_plain,
    graph=_graph,
    terms=lambda pictures, height, width, channels, columns: 9 * channels,
    flops=_flops,
)
