"""Components around the sampler in graphs: the tower, a prompt, each token of an answer, the condition.

A graph is for fixed sizes, so what varies from prompt to prompt is padded: tokens to a multiple of `bucket`, the room
of a cache to a multiple of `ANSWER` buckets. How much of it is real is data of the graph. The rest is zero, is masked,
and is cut off what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from .cuda_graph import Graphs
from .cuda_values import OnDevice, padded, put_padded

Values = dict[str, torch.Tensor]
ANSWER = 8  # buckets by which the room of a cache grows: an answer outgrows its graph once in so many


@dataclass(frozen=True, slots=True)
class Fitted:
    """A call at padded sizes.

    shapes   of every buffer; they say which graph fits
    values   what goes into the first corner of each buffer, zeros into the rest; of the buffers' types
    compute  buffers by name -> outputs, in the component's order; knows the padded sizes only
    cut      outputs -> the real part of each, in memory of its own
    """

    shapes: dict[str, tuple[int, ...]]
    values: Values
    compute: Callable[..., tuple[torch.Tensor, ...]]
    cut: Callable[[Values], Values]


@dataclass(slots=True)
class Held:
    """What one graph reads, and what it leaves."""

    inputs: Values
    outputs: Values = field(default_factory=dict)


class Parts:
    """Graphs of the components in `FITS` by padded sizes, each with its buffers.

    captured  capture on the device; False computes as it stands
    most      how many graphs are kept of each component
    bucket    tokens are padded to a multiple of it
    """

    def __init__(self, captured: bool, most: int, bucket: int):
        self.captured, self.most, self.bucket = captured, most, bucket
        self._graphs: dict[str, Graphs] = {}
        self._held: dict[str, dict[Hashable, Held]] = {}

    def run(self, component: str, module: Any, given: Values, outputs: Iterable[str]) -> Values:
        """`outputs` of the component by name, for `given`: inputs by name that were checked, on the device."""
        fitted = FITS[component](module, given, self.bucket)
        graphs = self._graphs.setdefault(component, Graphs(self.captured, self.most))
        buffers = self._held.setdefault(component, {})
        key = tuple(fitted.shapes.values())
        if key not in buffers:
            buffers[key] = Held({name: value.new_zeros(fitted.shapes[name]) for name, value in fitted.values.items()})
        held = buffers[key]
        for name, value in fitted.values.items():
            put_padded(held.inputs[name], OnDevice(value))

        function = fitted.compute  # a graph keeps what it captures: this, but not the values of its first call

        def compute() -> None:  # what a capture gives are the tensors that every replay writes again
            held.outputs.update(dict(zip(outputs, function(**held.inputs), strict=True)))

        graphs.replay(key, lambda: compute)
        self._held[component] = {kept: buffers[kept] for kept in graphs.keys()}  # noqa: SIM118 a list, not a dict
        return fitted.cut(held.outputs)

    @property
    def made(self) -> int:
        """Captures so far of what is still loaded."""
        return sum(graphs.made for graphs in self._graphs.values())

    @property
    def nbytes(self) -> int:
        """Of the buffers that graphs read."""
        held = (one for buffers in self._held.values() for one in buffers.values())
        return sum(tensor.nbytes for one in held for tensor in one.inputs.values())

    def forget(self, component: str) -> None:
        """Free the graphs of one component, which hold its parameters."""
        self._graphs.pop(component, None)
        self._held.pop(component, None)

    def clear(self) -> None:
        self._graphs.clear()
        self._held.clear()


def _exactly(module: Any, given: Values, bucket: int) -> Fitted:
    """For components whose sizes hardly vary."""
    return Fitted(
        {name: tuple(value.shape) for name, value in given.items()},
        given,
        module,
        lambda found: {name: value.clone() for name, value in found.items()},
    )


def _language(module: Any, given: Values, bucket: int) -> Fitted:
    layers, batch, heads, past, width = given["past_keys"].shape
    tokens, rows = given["inputs_embeds"].shape[1], len(given["rows"])
    several, more = (1, 1) if tokens == 1 else (padded(tokens, bucket), padded(rows, bucket))
    cache = layers, batch, heads, padded(past, ANSWER * bucket), width

    def cut(found: Values) -> Values:
        grown = {
            name: torch.cat((given[f"past_{name}"], found[name][:, :, :, :tokens]), 3) for name in ("keys", "values")
        }
        return {"hidden_levels": found["hidden_levels"][:, :, :rows].clone(), **grown}

    shapes = {"inputs_embeds": (batch, several, given["inputs_embeds"].shape[2]), "past_keys": cache,
              "past_values": cache, "rows": (more,), "length": (1,)}  # fmt: skip
    return Fitted(shapes, given | {"length": given["rows"].new_tensor([past])}, module.roomy, cut)


def _condition(module: Any, given: Values, bucket: int) -> Fitted:
    levels, batch, rows, width = given["hidden_levels"].shape
    images, tokens = given["image_features"].shape[1], len(given["order"])
    several, more = padded(tokens, bucket), padded(rows, bucket)
    order = given["order"]
    shapes = {"hidden_levels": (levels, batch, more, width), "order": (several,), "length": (1,),
              "image_features": (batch, padded(images, bucket), width)}  # fmt: skip
    values = given | {"order": order + (more - rows) * (order >= rows), "length": order.new_tensor([tokens])}
    return Fitted(
        shapes,
        values,
        module.roomy,
        lambda found: {"caption": found["caption"][:, :tokens].clone()},
    )


def _context(module: Any, given: Values, bucket: int) -> Fitted:
    branches, tokens, width = given["caption"].shape
    return Fitted(
        {"caption": (branches, padded(tokens, bucket), width)},
        given,
        module,
        lambda found: {name: value[:, :, :, :tokens].clone() for name, value in found.items()},
    )


FITS: dict[str, Callable[[Any, Values, int], Fitted]] = {
    "vision": _exactly, "streams": _exactly, "decoder": _exactly,
    "language": _language, "condition": _condition, "context": _context,
}  # fmt: skip
