"""The operators of domain `spar` inside a plan: plugins for TensorRT, standard operators for TensorRT-RTX.

The parser of TensorRT-RTX ends the process when it meets a plugin layer, so there the decomposition is built; likewise
in float16, which the CUDA kernels do not read, and where libspar_trt was not built.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper, inliner

from ..functions import DOMAIN, VERSION

VECTORS = {"DynamicTokenRouting": (2, 4, 5, 6, 7, 9), "GlumbconvCore": (2,)}
"""Inputs that the CUDA kernels read in float32."""

PLUGINS, DECOMPOSED, CUT, NONE = "plugins", "decomposed", "cut", "none"
"""How the operators of domain `spar` are computed in a plan, as the manifest says it."""


def operators(model: ModelProto) -> list[str]:
    """Names of the operators of domain `spar` in a graph, each once."""
    return sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})


def decomposed(model: ModelProto, narrow: int) -> ModelProto:
    """The same model over standard operators; inner casts go to `narrow`, the type around the operators."""
    if not operators(model):
        return model
    made = inliner.inline_local_functions(model)
    for node in made.graph.node:
        if node.op_type == "CastLike":
            node.op_type = "Cast"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("to", narrow))
    return made


def as_plugins(model: ModelProto) -> ModelProto:
    """The same model; the parser of TensorRT looks our nodes up among the plugins of namespace `spar`."""
    made = ModelProto()
    made.CopyFrom(model)
    del made.functions[:]
    nodes = []
    for node in made.graph.node:
        if node.domain == DOMAIN:
            for place in VECTORS.get(node.op_type, ()):
                wide = f"{node.input[place]}/{node.output[0]}/wide"
                nodes.append(helper.make_node("Cast", [node.input[place]], [wide], name=wide, to=TensorProto.FLOAT))
                node.input[place] = wide
            node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
            node.attribute.append(helper.make_attribute("plugin_version", str(VERSION)))
        nodes.append(node)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
