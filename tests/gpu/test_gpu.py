"""What only a GPU can tell, as `make gpu-check` tells it: kernels against the oracles, the backend against torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU, or a torch without CUDA"),
]

from spar_bench.gpu_check import build, ops, parity  # noqa: E402
from spar_bench.gpu_check.stages import Rows, rows_of  # noqa: E402
from spar_engine.backends.cuda import CudaBackend  # noqa: E402
from spar_engine.config import preset  # noqa: E402
from spar_engine.weights import RandomWeights  # noqa: E402


def wrong(path, work):
    """Rows that are outside their bound; the check must have looked at something."""
    rows = Rows(path / "rows")
    work(rows)
    rows.close()
    found = rows_of(path / "rows")
    assert any(row.get("ok") for row in found)
    return [row for row in found if row.get("ok") is False]


def test_the_extension_builds_for_this_gpu():
    assert build.extension()["ok"]


def test_every_implementation_keeps_the_bounds(tmp_path):
    assert wrong(tmp_path, ops.run) == []


def test_the_backend_is_as_accurate_as_torch(tmp_path):
    weights = RandomWeights(preset("spar-tiny-random"))
    assert wrong(tmp_path, lambda rows: parity.check(rows, weights, "cuda")) == []


def test_a_captured_picture_is_the_one_without_graphs():
    weights = RandomWeights(preset("spar-tiny-random"))
    made = []
    for graphs in (8, 0):
        backend = CudaBackend(weights, graphs=graphs)
        made += [parity.picture(weights, backend, offers=backend.offers) for _ in range(2)]
        assert backend.about()["graphs"] == (1 if graphs else 0)
    assert all((picture == made[0]).all() for picture in made)
