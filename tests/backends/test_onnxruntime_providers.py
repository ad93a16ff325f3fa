"""The TensorRT provider of ONNX Runtime: used where TensorRT 10 is, refused with the reason elsewhere."""

from __future__ import annotations

import types

import onnxruntime as installed
import pytest
from spar_engine.backends import onnxruntime, ort_options
from spar_engine.backends.onnxruntime import OnnxRuntimeBackend
from spar_engine.errors import BackendError


@pytest.fixture
def offered(monkeypatch):
    """A build that lists every provider and starts none; what sessions were asked for."""
    asked = []
    build = types.SimpleNamespace(**vars(installed))
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    build.get_available_providers = lambda: names

    def session(graph, options, providers):
        asked.append(providers)
        return installed.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    build.InferenceSession = session
    monkeypatch.setattr(onnxruntime, "runtime", lambda: build)
    return asked


def test_other_versions_of_tensorrt_are_refused(weights, offered, monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ort_options.ctypes, "CDLL", missing)
    said = r"provider='tensorrt' is refused: it needs TensorRT 10\.x, and libnvinfer\.so\.10 is not here"
    with pytest.raises(BackendError, match=said):
        OnnxRuntimeBackend(weights, provider="tensorrt")


def test_it_falls_to_cuda_and_never_silently_to_the_cpu(weights, offered, monkeypatch):
    monkeypatch.setattr(onnxruntime, "missing_tensorrt", lambda: None)
    backend = OnnxRuntimeBackend(weights, provider="tensorrt")
    with pytest.raises(BackendError, match="TensorrtExecutionProvider does not start on this machine"):
        backend.load("lm_head")
    assert offered == [["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]]


def test_a_build_without_it(weights):
    if "TensorrtExecutionProvider" not in installed.get_available_providers():
        with pytest.raises(BackendError, match=r"provider='tensorrt' is not in the installed build"):
            OnnxRuntimeBackend(weights, provider="tensorrt")
