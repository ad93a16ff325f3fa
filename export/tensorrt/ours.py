"""The operators of domain `spar` inside a plan: plugins for TensorRT, standard operators for TensorRT-RTX.

The parser of TensorRT-RTX ends the process when it meets a plugin layer, so there the decomposition is built.
"""

from __future__ import annotations

from onnx import ModelProto, helper, inliner

from ..functions import DOMAIN, VERSION

PLUGINS, DECOMPOSED, NONE = "plugins", "decomposed", "none"
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
    for node in made.graph.node:
        if node.domain == DOMAIN:
            node.attribute.append(helper.make_attribute("plugin_namespace", DOMAIN))
            node.attribute.append(helper.make_attribute("plugin_version", str(VERSION)))
    return made
