"""A small checkpoint, and its components as graphs for plans."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from spar_engine.components import components
from spar_engine.weights import Checkpoint

NAMES = ("vision", "language", "lm_head", "condition", "context", "modulation", "dit", "streams", "decoder")


@pytest.fixture(scope="session")
def weights(golden_dir) -> Checkpoint:
    """The small checkpoint with routing and both streams."""
    return Checkpoint.open(golden_dir("spar-tiny") / "checkpoint")


@pytest.fixture(scope="session")
def graph_of(weights) -> Callable:
    """graph_of("dit", "bf16"): the graph of one component, every axis free but the batch."""
    from spar_export.tensorrt.graphs import plan_graph

    @cache
    def made(name: str, precision: str, plugins: bool = False, dynamic: bool = True):
        return plan_graph(components(weights.config)[name], weights, precision, plugins=plugins, dynamic=dynamic)

    return made
