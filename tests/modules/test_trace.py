"""Every cut can be traced with free axes: the traced program runs at other sizes than those it was traced at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from spar_engine.components import components
from spar_engine.modules import cuts

FIRST = {"batch": 3, "tokens": 9, "rows": 5, "past": 4, "tiles": 2, "image_tokens": 6, "branch": 7, "steps": 4,
         "height": 8, "width": 10}  # fmt: skip
OTHER = {"batch": 1, "tokens": 12, "rows": 1, "past": 0, "tiles": 1, "image_tokens": 11, "branch": 2, "steps": 1,
         "height": 1, "width": 6}  # fmt: skip
OPERATORS = {"condition": 1, "dit": 2, "decoder": 2}  # calls of our operators in a traced cut


@pytest.mark.parametrize("name", list(cuts.CUTS))
def test_trace(odd_config, odd_with, name):
    config = odd_config
    odd = odd_with(
        vision=replace(config.vision, depth=1), language=replace(config.language, depth=3), connector_depth=1,
        streams=replace(config.streams, blocks=1, pixel_depth=1), dit=replace(config.dit, depth=2),
        decoder=replace(config.decoder, depths=(1, 1, 1, 2), attention=(False, False, False, True),
                        scales=((), (), (), (3, 5))),
    )  # fmt: skip
    spec = components(odd.config)[name]

    def inputs(sizes):
        if name == "vision":  # a tile is two patches of 14 at least
            sizes = sizes | {axis: 28 * max(sizes[axis], 2) for axis in ("height", "width")}
        given = {axis: size for axis, size in sizes.items() if axis in spec.ranges}
        return [torch.from_numpy(value) for value in spec.example(odd.rng, **given).values()]

    shapes = tuple(
        {place: torch.export.Dim.DYNAMIC for place, axis in enumerate(tensor.axes) if axis in spec.ranges}
        for tensor in spec.inputs.values()
    )
    cut = cuts.load(cuts.build(name, odd.config), odd.weights)
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(cut, tuple(inputs(FIRST)), dynamic_shapes=shapes, strict=False)
    assert set(program.graph_signature.parameters) == set(cut.names())
    ours = [node for node in program.graph.nodes if str(node.target).startswith("spar.")]
    assert len(ours) == OPERATORS.get(name, 0)
    traced = program.module(check_guards=False)  # as a runtime of the exported graph would
    for sizes in (FIRST, OTHER):
        again = inputs(sizes)
        for got, want in zip(traced(*again), cut(*again), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
