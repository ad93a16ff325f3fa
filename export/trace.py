"""Traces one component into an ONNX model whose parameters are names of checkpoint tensors, without their values.

The module stays on the meta device, so that neither its size nor the machine's memory matters: a graph depends on the
configuration and on the stored types alone.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version

import torch
from onnx import ModelProto, helper
from spar_engine.components import Component, Tensor
from spar_engine.config import ModelConfig
from spar_engine.modules import cuts
from spar_engine.modules.tap import taps as recording
from torch.export import Dim, ExportedProgram

from . import functions
from .lower import GraphBuilder, lower_program
from .lower.graph import Axes
from .versions import IR_VERSION, OPSET


def _returning_taps(cut: cuts.Cut, outputs: Collection[str]) -> list[str]:
    """Make `cut` also return its taps, but for those that are outputs; their names, known once it was traced."""
    plain, names = cut.forward, []

    @functools.wraps(plain)
    def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with recording() as seen:
            results = plain(*inputs)
        names[:] = [name for name in seen if name not in outputs]
        return (*results, *(seen[name] for name in names))

    cut.forward = forward
    return names


def trace(
    component: Component, config: ModelConfig, stored: Callable[[str], int], taps: bool = False
) -> tuple[ModelProto, ModelProto | None]:
    """The ONNX model of one component, and the one that shows its inner tensors too.

    stored   parameter name -> ONNX type of the stored tensor; it becomes the type of the initializer
    taps     also make the second model: the tensors that the module names are further outputs
    returns  models whose initializers for parameters have no data yet, only name, type and shape
    errors   LoweringError when the module uses an operator that `lower` does not know
    """
    cut = cuts.build(component.name, config)
    names = _returning_taps(cut, component.outputs) if taps else []
    program = _export(cut, component, config)
    inputs = {name: _axes(tensor, component) for name, tensor in component.inputs.items()}
    outputs = {name: _axes(tensor, component) for name, tensor in component.outputs.items()}

    def lowered(wanted: Mapping[str, Axes | None]) -> ModelProto:
        graph = GraphBuilder(stored)
        lower_program(program, graph, inputs, wanted)
        return _model(component, graph)

    tapped = lowered(outputs | dict.fromkeys(names)) if taps else None
    _forget_results(program, len(outputs))
    return lowered(outputs), tapped


def _forget_results(program: ExportedProgram, kept: int) -> None:
    """Leave a program only its first results, and what they need: as if nothing had been tapped."""
    nodes = list(program.graph.nodes)
    nodes[-1].args = (tuple(nodes[-1].args[0])[:kept],)
    for node in nodes:
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # it would keep what it looks at
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()


def _export(cut: cuts.Cut, component: Component, config: ModelConfig) -> ExportedProgram:
    sizes = _example_sizes(component, config)
    inputs, shapes = [], []
    for tensor in component.inputs.values():
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in tensor.axes]
        inputs.append(torch.empty(shape, dtype=getattr(torch, tensor.dtype), device="meta"))
        shapes.append({i: Dim.DYNAMIC for i, axis in enumerate(tensor.axes) if axis in component.ranges})
    with warnings.catch_warnings(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
        warnings.simplefilter("ignore")
        return torch.export.export(cut, tuple(inputs), dynamic_shapes=tuple(shapes), strict=False)


def _example_sizes(component: Component, config: ModelConfig) -> dict[str, int]:
    """A size for every axis. Free ones are all different, so that no two look related by chance."""
    free = {}
    for number, axis in enumerate(component.ranges):
        step = 2 * config.vision.patch_size if axis in ("height", "width") and component.name == "vision" else 1
        free[axis] = step * (3 + 2 * number)
    return component.sizes | free


def _model(component: Component, graph: GraphBuilder) -> ModelProto:
    made = helper.make_graph(graph.nodes, component.name, graph.inputs, graph.outputs, graph.initializers())
    kinds = sorted({node.op_type for node in graph.nodes if node.domain == functions.DOMAIN})
    opsets = [helper.make_opsetid("", OPSET)]
    if kinds:
        opsets.append(helper.make_opsetid(functions.DOMAIN, functions.VERSION))
    return helper.make_model(
        made,
        functions=[functions.decomposition(kind, OPSET) for kind in kinds],
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="spar-export",
        producer_version=version("spar-engine"),
    )


def _axes(tensor: Tensor, component: Component) -> list[int | str]:
    return [component.sizes.get(axis, axis) for axis in tensor.axes]
