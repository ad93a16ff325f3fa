"""RMSNorm of the language model (spec 5.1): float32 residual stream in, what the next product reads out."""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import rms_norm as oracle

from .case import PROMPT, Case, Shape


def _shapes(config: ModelConfig) -> list[Shape]:
    width, layers = config.language.width, config.language.depth + config.connector_depth
    return [Shape(config.name, (config.query_count + PROMPT, width), 2 * layers), Shape(config.name, (1, width))]


def _plain(x: Any, weight: Any) -> Any:
    import torch.nn.functional as nn

    return nn.rms_norm(x, x.shape[-1:], weight, oracle.EPS)


def _graph(rows: int, width: int) -> str:
    return f"""(x, weight) => (out) {{
        square = Mul (x, x)
        axis = Constant <value_ints: ints = [-1]> ()
        mean = ReduceMean <keepdims: int = 1> (square, axis)
        eps = Constant <value_float: float = {oracle.EPS}> ()
        raised = Add (mean, eps)
        root = Sqrt (raised)
        normal = Div (x, root)
        out = Mul (normal, weight)
    }}"""


CASE = Case(
    op="rms_norm",
    kernels=("norm",),
    axes=("rows", "width"),
    shapes=_shapes,
    changing=("x",),
    half=(),
    make=oracle.random_inputs,
    expected=lambda inputs, dtype: oracle.rms_norm(**inputs),
    bound=oracle.bound,
    plain=_plain,
    graph=_graph,
    terms=lambda rows, width: width,
    flops=lambda rows, width: 4 * rows * width,
)
