"""Exported graphs compute what the torch modules compute, at every size, and stock tools accept them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.doctor.oracle import judge
from spar_engine.oracle import bounds
from spar_export.onnx import export_onnx

from .conftest import MODELS, ODD, example

NAMES = tuple(components(ODD))
DEEP = tuple(name for name in NAMES if name != "lm_head")  # one product has a bound of its own


def stock_session(graph, folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("component", DEEP)
@pytest.mark.parametrize("model", MODELS)
def test_outputs_agree_at_all_sizes(model, component, weights_of, artefacts_of):
    weights, artefacts = weights_of(model), artefacts_of(model)
    spec = components(weights.config)[component]
    session = stock_session(artefacts.graph(component), artefacts.folder(component))
    plain, exact = TorchBackend(weights, threads=1), TorchBackend(weights, precision="fp64")
    rng, seen = np.random.default_rng(8), {name: ([], [], []) for name in spec.outputs}
    for which in ("usual", "least", "odd"):
        inputs = example(spec, weights.config, which, rng)
        got = dict(zip(spec.outputs, session.run(list(spec.outputs), inputs), strict=True))
        want, truth = plain.run(component, inputs), exact.run(component, inputs)
        for name, values in seen.items():
            assert got[name].shape == truth[name].shape
            for kept, answer in zip(values, (got, want, truth), strict=True):
                kept.append(answer[name].ravel())
    for name, values in seen.items():  # judged together: an error of plain torch over a few numbers says little
        row = judge(component, name, *map(np.concatenate, values), "fp32")
        assert row.passed, row


@pytest.mark.parametrize("model", MODELS)
def test_logits_are_a_product(model, weights_of, artefacts_of):
    weights, artefacts = weights_of(model), artefacts_of(model)
    session = stock_session(artefacts.graph("lm_head"), artefacts.folder("lm_head"))
    hidden = np.random.default_rng(4).standard_normal((3, weights.config.language.width), dtype=np.float32)
    want = bounds.dot(bounds.exact(hidden), bounds.exact(weights.f32("lm_head.weight").T))
    (got,) = session.run(None, {"hidden_states": hidden})
    assert (np.abs(got - want.value) <= want.error).all()


@pytest.mark.parametrize("component", DEEP)
def test_taps_agree(component, weights_of, artefacts_of):
    weights, artefacts = weights_of("spar-tiny"), artefacts_of("spar-tiny")
    spec = components(weights.config)[component]
    session = stock_session(artefacts.graph(component, taps=True), artefacts.folder(component))
    inputs = example(spec, weights.config, "usual", np.random.default_rng(2))
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(names, inputs), strict=True))
    want = TorchBackend(weights, threads=1).run(component, inputs, taps=True)
    truth = TorchBackend(weights, precision="fp64").run(component, inputs, taps=True)
    assert got.keys() == want.keys()
    assert not [row for name in names
                if not (row := judge(component, name, got[name], want[name], truth[name], "fp32")).passed]  # fmt: skip


@pytest.mark.parametrize("component", NAMES)
def test_a_graph_keeps_to_its_component(component, artefacts_of):
    spec = components(ODD)[component]
    model = onnx.ModelProto.FromString(artefacts_of("odd").graph(component))
    for values, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        found = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
                 for value in values}  # fmt: skip
        assert found == {name: [spec.sizes.get(axis, axis) for axis in tensor.axes] for name, tensor in tensors.items()}


@pytest.mark.parametrize("component", ["condition", "dit", "decoder"])
def test_files_stand_alone(component, weights_of, tmp_path):
    """onnx.checker and a stock session open them by path, and every parameter keeps its stored type."""
    weights = weights_of("odd")
    export_onnx(weights, tmp_path, only=[component])
    path = tmp_path / f"{component}.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = onnx.load(path, load_external_data=False)
    external = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    assert {tensor.data_type for tensor in external} == {onnx.TensorProto.BFLOAT16}
    assert not any(len(tensor.raw_data) > 4096 for tensor in model.graph.initializer)
    onnx.load_external_data_for_model(model, str(tmp_path))
    for tensor in external:
        stored = weights.raw(tensor.name.partition("|")[0])
        assert tensor.raw_data == stored.tobytes(), tensor.name


def test_tapping_leaves_the_graph_as_it_is(weights_of, tmp_path, monkeypatch):
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path / "cache"))
    for taps in (False, True):
        export_onnx(weights_of("odd"), tmp_path / str(taps), only=["condition"], taps=taps)
        monkeypatch.setenv("SPAR_CACHE", str(tmp_path / "other"))
    plain, tapped = ((tmp_path / str(taps) / "condition.onnx").read_bytes() for taps in (False, True))
    assert plain == tapped
