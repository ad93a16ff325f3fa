"""What the tests of the CUDA backend share."""

from __future__ import annotations

import pytest
from spar_engine.weights import Checkpoint


@pytest.fixture(scope="module")
def weights(golden_dir):
    return Checkpoint.open(golden_dir("spar-tiny") / "checkpoint")


@pytest.fixture
def rehearsed(monkeypatch):
    """Plain calls that stand for graphs run first as a capture's warm-up does."""
    from spar_engine.backends import cuda_graph

    class Rehearsed(cuda_graph.Plain):
        def __init__(self, function):
            super().__init__(function)
            for _ in range(cuda_graph.WARM_UP):
                function()

    monkeypatch.setattr(cuda_graph, "Plain", Rehearsed)
