"""Taps see inner tensors by name, and nothing else changes."""

from __future__ import annotations

import threading

import pytest
import torch
from spar_engine.modules.tap import recording, scope, tap, taps


def test_a_tap_returns_its_tensor():
    x = torch.ones(2)
    assert tap("x", x) is x
    with taps():
        assert tap("x", x) is x


def test_names_carry_their_scopes():
    with taps() as seen:
        with scope("block_0"):
            tap("a", torch.zeros(1))
            with scope("attn"):
                tap("b", torch.zeros(1))
        tap("c", torch.zeros(1))
    assert list(seen) == ["block_0.a", "block_0.attn.b", "c"]


def test_nothing_is_kept_outside():
    with taps() as seen:
        assert recording()
    tap("late", torch.zeros(1))
    assert not recording()
    assert seen == {}


def test_a_nested_recording_starts_without_scopes_and_hides_the_outer():
    with taps() as outer, scope("part"):
        with taps() as inner:
            tap("x", torch.zeros(1))
        tap("y", torch.zeros(1))
    assert (list(inner), list(outer)) == (["x"], ["part.y"])


def test_an_exception_ends_the_recording():
    with pytest.raises(ZeroDivisionError), taps(), scope("part"):
        raise ZeroDivisionError
    assert not recording()
    with taps() as seen:
        tap("x", torch.zeros(1))
    assert list(seen) == ["x"]


def test_threads_record_for_themselves():
    with taps() as seen:
        thread = threading.Thread(target=lambda: tap("other", torch.zeros(1)))
        thread.start()
        thread.join()
    assert seen == {}


class Tapped(torch.nn.Module):
    def forward(self, x):
        with scope("inner"):
            return tap("double", x * 2) + 1


def operations(module, x):
    graph = torch.export.export(module, (x,), strict=False).graph
    return [node.target for node in graph.nodes if node.op == "call_function"]


def test_taps_leave_nothing_in_a_traced_graph():
    class Bare(torch.nn.Module):
        def forward(self, x):
            return x * 2 + 1

    assert operations(Tapped(), torch.ones(3)) == operations(Bare(), torch.ones(3))


def test_taps_can_be_returned_from_a_traced_graph():
    class Showing(torch.nn.Module):
        def forward(self, x):
            with taps() as seen:
                result = Tapped()(x)
            return result, seen["inner.double"]

    program = torch.export.export(Showing(), (torch.ones(3),), strict=False)
    result, double = program.module()(torch.full((3,), 4.0))
    assert torch.equal(double, torch.full((3,), 8.0))
    assert torch.equal(result, torch.full((3,), 9.0))


def test_taps_do_not_break_a_compiled_graph():
    compiled = torch.compile(Tapped(), fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 3.0))
