"""The float8 pass: products of the DiT's blocks read e4m3 on both sides.

It follows the typed-graph pass. A weight lies in the plan as e4m3 with a factor for each output channel; an input is
quantised with one factor, which a calibration found (TensorRT takes no factor for each row of an input). Both are
written as pairs of QuantizeLinear and DequantizeLinear around the product, whose result stays bf16: what a builder
fuses into a float8 product is the same function as the graph when nothing is fused, up to the rounding of bf16.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper
from spar_engine.backends.plans.float8 import factor

PLACES = re.compile(r"\.transformer_blocks\.\d+\.(attn1|attn2|ff)\..*\.weight$")
"""Parameters of the products: 1x1 convolutions and projections inside the blocks. The first and the last layer of the
DiT stay in bf16: they are small, and every error of theirs reaches the picture."""

PATH = ("language", "condition", "context", "modulation", "dit")
"""Components that a calibration runs."""

GPUS = frozenset(("sm89", "sm90", "sm100", "sm103", "sm120", "sm121"))
"""GPUs with float8 products."""

E4M3 = TensorProto.FLOAT8E4M3FN
BITS, FACTORS = "|e4m3", "|factors"
"""Behind the name of a weight: its float8 values, and their factors."""

HEADROOM = 4.0
"""The calibration's largest input times this is still in range. It costs no precision: e4m3 is a floating type, and
values would have to be some 2^12 times smaller than the largest to lose any."""


def sites(model: ModelProto, names: Iterable[str]) -> list[tuple[NodeProto, str, TensorProto]]:
    """(node, parameter, weight) of the products among `names` that float8 takes: both sides are multiples of 16."""
    wanted, weights = set(names), {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "Gemm" or node.input[1] not in weights:
            continue
        weight, parameter = weights[node.input[1]], node.input[1].partition("|")[0]
        if parameter in wanted and helper.get_node_attr_value(node, "transB") == 1 and not any(
            size % 16 for size in weight.dims
        ):  # fmt: skip
            found.append((node, parameter, weight))
    return found


def quantised(model: ModelProto, largest: Mapping[str, float]) -> ModelProto:
    """The typed graph in bf16 with float8 products; weights are initializers without data, as they were.

    largest  parameter -> the largest magnitude of what it is multiplied with
    """
    made = ModelProto()
    made.CopyFrom(model)
    graph, before, scalars = made.graph, {}, {}
    gone: set[str] = set()
    for node, parameter, weight in sites(made, largest):
        bits, factors = f"{weight.name}{BITS}", f"{weight.name}{FACTORS}"
        graph.initializer.append(TensorProto(name=bits, data_type=E4M3, dims=weight.dims))
        graph.initializer.append(TensorProto(name=factors, data_type=TensorProto.BFLOAT16, dims=weight.dims[:1]))
        scale = factor(np.float32(HEADROOM * largest[parameter]))
        given, value = node.input[0], f"{node.input[0]}/e4m3/{int(scale):04x}"
        pair = []
        if value not in scalars:  # query, key and value read the same
            scalars[value] = TensorProto(name=f"{value}/factor", data_type=TensorProto.BFLOAT16, dims=(),
                                         raw_data=scale.tobytes())  # fmt: skip
            pair = _pair(given, value)
        whole = f"{weight.name}/wide"
        pair.append(helper.make_node("DequantizeLinear", [bits, factors], [whole], name=f"wide/{weight.name}", axis=0))
        before[node.output[0]] = pair
        node.input[0], node.input[1] = f"{value}/wide", whole
        gone.add(weight.name)
    graph.initializer.extend(scalars.values())
    kept = [TensorProto.FromString(one.SerializeToString()) for one in graph.initializer if one.name not in gone]
    nodes = [copy for node in graph.node for copy in (*before.get(node.output[0], ()), node)]
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return made


def _pair(given: str, value: str) -> list[NodeProto]:
    """The nodes that make `value`/wide: `given` through e4m3."""
    scale = f"{value}/factor"
    return [
        helper.make_node("QuantizeLinear", [given, scale], [value], name=f"quantise/{value}", output_dtype=E4M3),
        helper.make_node("DequantizeLinear", [value, scale], [f"{value}/wide"], name=f"wide/{value}"),
    ]
