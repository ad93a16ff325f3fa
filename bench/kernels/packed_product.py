"""Linear layers with packed weights (docs/kernels.md): DiT, vision tower, language model at prefill and decoding.

Activations are quantised within the op where the weights are int8 or int4, as the native backend does it. The norm or
gate that a layer has beside its product in the model is left out here; SiLU, which is fused everywhere, is not.
"""

from __future__ import annotations

from typing import Any

from spar_engine.config import ModelConfig
from spar_engine.oracle import packed_product as oracle
from spar_engine.oracle.packed_product import GATED, NONE, SILU

from .case import PROMPT, STEPS, Case, Shape

ALL = ("f32", "bf16", "int8")
SKINNY = 16  # rows up to which 4-bit weights are for: beyond, arithmetic binds and int8 costs nothing more


def _shape(config: ModelConfig, sizes: tuple[int, ...], calls: float) -> Shape:
    return Shape(config.name, sizes, calls, (*ALL, "int4") if sizes[0] <= SKINNY else ALL)


def _language(config: ModelConfig, rows: int, layers: int) -> list[Shape]:
    c = config.language
    sizes = [(c.width + 2 * c.kv_heads * c.head_dim, c.width, NONE), (c.width, c.width, NONE),
             (2 * c.mlp_width, c.width, GATED), (c.width, c.mlp_width, NONE)]  # fmt: skip
    return [_shape(config, (rows, *layer), layers) for layer in sizes]


def _shapes(config: ModelConfig) -> list[Shape]:
    dit, vision, tokens = config.dit, config.vision, config.dit.sample_size**2
    patches = vision.grid**2 + 1  # and the class token
    return [
        # Both guidance branches; block 0 attends to itself once for both.
        _shape(config, (2 * tokens, 3 * dit.width, dit.width, NONE), STEPS * (dit.depth - 1)),
        _shape(config, (2 * tokens, dit.width, dit.width, NONE), STEPS * (3 * dit.depth - 1)),
        _shape(config, (2 * tokens, 2 * dit.mlp_width, dit.width, SILU), STEPS * dit.depth),
        _shape(config, (2 * tokens, dit.width, dit.mlp_width, NONE), STEPS * dit.depth),
        # Once a picture: the unconditional branch is the same for every picture and kept. The connector has the
        # geometry of the language model.
        *_language(config, config.query_count + PROMPT, config.language.depth + config.connector_depth),
        # Decoding a token and the vision tower are for answers and edits.
        *_language(config, 1, 0),
        _shape(config, (patches, 3 * vision.width, vision.width, NONE), 0),
        _shape(config, (patches, vision.width, vision.width, NONE), 0),
        _shape(config, (patches, vision.mlp_width, vision.width, NONE), 0),
        _shape(config, (patches, vision.width, vision.mlp_width, NONE), 0),
    ]


def _plain(x: Any, weight: Any, bias: Any, act: int) -> Any:
    import torch.nn.functional as nn

    y = nn.linear(x, weight, bias)
    if act == NONE:
        return y
    if act == SILU:
        return nn.silu(y)
    gate, value = y.chunk(2, dim=-1)
    return nn.silu(gate) * value


def _graph(rows: int, columns: int, depth: int, act: int) -> str:
    y = "y = Gemm <transB: int = 1> (x, weight, bias)"
    if act == NONE:
        return "(x, weight, bias) => (out) { " + y.replace("y =", "out =") + " }"
    if act == SILU:
        return "(x, weight, bias) => (out) { " + y + " s = Sigmoid (y) out = Mul (y, s) }"
    return ("(x, weight, bias) => (out) { " + y + " gate, value = Split <axis: int = 1, num_outputs: int = 2> (y) "
            "s = Sigmoid (gate) open = Mul (gate, s) out = Mul (open, value) }")  # fmt: skip


CASE = Case(
    op="packed_product",
    kernels=("gemm", "quantize"),
    axes=("rows", "columns", "depth", "act"),
    shapes=_shapes,
    large=(Shape("large", (8192, 1152, 1152, NONE), 0, ALL),),  # a 2048-pixel picture with both branches
    changing=("x",),
    half=("x", "weight"),
    quantized=("weight",),
    dtypes=(*ALL, "int4"),
    inside=("int8", "int4"),
    make=oracle.random_inputs,
    expected=oracle.packed_product,
    bound=oracle.bound,
    plain=_plain,
    graph=_graph,
    terms=lambda rows, columns, depth, act: depth,
    flops=lambda rows, columns, depth, act: 2 * rows * columns * depth,
)
