"""The CUDA ops on a GPU: the examples of the emulation, and the same bits in every run."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from .devices import OnDevice
from .runners import OPS, examples

pytestmark = pytest.mark.gpu


@pytest.fixture
def ops(monkeypatch):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    monkeypatch.setattr(OnDevice, "on_gpu", True)
    return importlib.import_module("spar_engine._cuda")


@pytest.mark.parametrize(("op", "name"), [(op, name) for op in OPS for name, _ in examples(op)])
def test_equation_and_same_bits(ops, op, name):
    run, inputs = OPS[op][0], dict(examples(op))[name]
    for one, other in zip(run(ops, inputs), run(ops, inputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_dlpack_in_and_out_on_another_stream(ops):
    """Arrays that share nothing but DLPack; the op's stream waits for what the producer's stream still computes."""
    import torch

    class OnlyDlpack:
        def __init__(self, tensor):
            self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__

    stream = torch.cuda.Stream()
    x = torch.zeros(64, 1152, device="cuda")
    values, scales = torch.zeros(64, 1152, device="cuda", dtype=torch.uint8), torch.zeros(64, device="cuda")
    torch.cuda.synchronize()
    for _ in range(200):
        x += 1
    ops.quantize_rows(x=OnlyDlpack(x), values=OnlyDlpack(values), scales=OnlyDlpack(scales), stream=stream.cuda_stream)
    stream.synchronize()
    assert (scales * 448 - 200).abs().max() < 1e-3
    assert (values == values[0, 0]).all()


def test_a_graph_of_every_op_gives_the_same_bits(ops, monkeypatch):
    """Every call can be captured: nothing is allocated, nothing waits."""
    import torch

    for op, (run, _) in OPS.items():
        inputs = next(inputs for _, inputs in examples(op))
        want = run(ops, inputs)
        graphs = []

        def captured(graphs=graphs, op=op, **arguments):
            function, graph = getattr(ops, op), torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                function(**arguments, stream=torch.cuda.current_stream().cuda_stream)
            graphs.append(graph)  # as long as the results
            graph.replay()

        class Captured:
            """The module, with the one op captured and replayed instead of called."""

            def __getattr__(self, name, op=op, captured=captured):
                return captured if name == op else getattr(ops, name)

        for one, other in zip(run(Captured(), inputs), want, strict=True):
            np.testing.assert_array_equal(one, other)
        assert graphs
