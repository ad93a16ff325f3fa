"""LayerNorm with the timestep's scale and shift (spec 4.5): float32 residual stream in, what a product reads out."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import layer_norm_modulate as oracle

from .case import STEPS, Case, Shape

EPS = 1e-6


def _shapes(config: ModelConfig) -> list[Shape]:
    d = config.dit
    tokens = d.sample_size**2
    # Two a block and one at the end; the first of block 0 is done once for both guidance branches.
    return [
        Shape(config.name, (2, tokens, d.width), STEPS * 2 * d.depth),
        Shape(config.name, (1, tokens, d.width), STEPS),
    ]


def _plain(x: Any, shift: Any, scale: Any) -> Any:
    import torch.nn.functional as nn

    return nn.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale[:, None]) + shift[:, None]


def _graph(batch: int, tokens: int, width: int) -> str:
    return f"""(x, shift, scale) => (out) {{
        one = Constant <value_float: float = 1.0> ()
        zero = Constant <value_float: float = 0.0> ()
        width = Constant <value_ints: ints = [{width}]> ()
        ones = Expand (one, width)
        zeros = Expand (zero, width)
        normal = LayerNormalization <axis: int = -1, epsilon: float = {EPS}> (x, ones, zeros)
        axis = Constant <value_ints: ints = [1]> ()
        more = Add (scale, one)
        factor = Unsqueeze (more, axis)
        moved = Unsqueeze (shift, axis)
        scaled = Mul (normal, factor)
        out = Add (scaled, moved)
    }}"""


CASE = Case(
    op="layer_norm_modulate",
    kernels=("norm",),
    axes=("batch", "tokens", "width"),
    shapes=_shapes,
    large=(Shape("large", (2, 4096, 1152)),),  # a 2048-pixel picture
    changing=("x",),
    half=(),
    make=oracle.random_inputs,
    expected=lambda inputs, dtype: oracle.layer_norm_modulate(**inputs, eps=EPS),
    bound=lambda inputs, dtype: oracle.bound(inputs | {"eps": EPS}, dtype),
    plain=_plain,
    graph=_graph,
    terms=lambda batch, tokens, width: width,
    flops=lambda batch, tokens, width: 8 * batch * tokens * width,
)
