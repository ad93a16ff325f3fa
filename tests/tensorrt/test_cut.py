"""Components that are cut at an operator: the parts are the whole, both are built, a launch runs between engines."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from onnx import TensorProto, helper
from spar_engine.backends.plans.manifest import read_plans
from spar_engine.backends.plans.slots import Filling
from spar_engine.backends.tensorrt import TensorRTBackend
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.doctor.oracle import judge
from spar_engine.errors import ArtefactError, BackendError, InputError, MissingDependency
from spar_engine.oracle.dynamic_token_routing import dynamic_token_routing
from spar_engine.weights.dtypes import to_bf16, to_f32
from spar_export.tensorrt import cutting
from spar_export.tensorrt.child import Ended
from spar_export.tensorrt.graphs import plan_graph
from spar_export.tensorrt.plans import export_plans, status
from spar_export.tensorrt.settings import settings_of
from spar_export.tensorrt.watch import PlanQuiet

from ..export.conftest import example
from . import fake
from .typed_graphs import emulated, run, with_weights

SIZES = {"levels": (None, "rows", None), "routed": ("rows", None)}
"""Axes that are free in what lies between the two parts."""


@pytest.fixture(scope="module")
def graph(weights):
    return plan_graph(components(weights.config)["condition"], weights, "bf16", plugins=False, dynamic=False, cut=True)


def filled(graph, model, weights):
    """A part with its weights, for ONNX Runtime."""
    filling = Filling(graph.slots, weights, None if graph.constants is None else graph.constants.SerializeToString())
    read = {tensor.name for tensor in model.graph.initializer}
    made = with_weights(model, {slot.name: filling.array(slot) for slot in graph.slots if slot.name in read})
    return emulated(made)


def routed(graph, weights, values):
    """The operator's oracle over the manifest's operands; bf16 as float32."""
    filling = Filling((), weights, None if graph.constants is None else graph.constants.SerializeToString())
    given = {}
    for one in graph.operands:
        array = values[one.value] if one.slot is None else filling.array(one.slot)
        given[one.name] = to_f32(array, "BF16") if array.dtype == np.uint16 else array
    found = dynamic_token_routing(**given, **graph.halves.attributes)
    return to_f32(to_bf16(found.astype(np.float32)), "BF16")


def inputs_of(weights, which="usual"):
    spec = components(weights.config)["condition"]
    inputs = example(spec, weights.config, which, np.random.default_rng(5))
    return {name: array[:, :1] if name == "hidden_levels" else array[:1] if name == "image_features" else array
            for name, array in inputs.items()}  # fmt: skip


@pytest.mark.parametrize("which", ["usual", "odd"])
def test_the_parts_are_the_whole(graph, weights, which):
    inputs, halves = inputs_of(weights, which), graph.halves
    between = run(filled(graph, graph.model, weights), inputs)
    between[halves.result] = routed(graph, weights, between)
    got = run(filled(graph, halves.after, weights), inputs | between)["caption"]
    plain = TorchBackend(weights, precision="bf16", threads=1).run("condition", inputs)["caption"]
    truth = TorchBackend(weights, precision="fp64").run("condition", inputs)["caption"]
    assert judge("condition", "caption", got, plain, truth, "bf16").passed
    between[halves.result] = np.roll(between[halves.result], 1, axis=0)
    off = run(filled(graph, halves.after, weights), inputs | between)["caption"]
    assert not judge("condition", "caption", off, plain, truth, "bf16").passed


def test_what_lies_between(graph, weights):
    """Every weight is in exactly one place; vectors of the operator are float32, matrices bf16."""
    halves = graph.halves
    assert (graph.operators, halves.attributes) == ("cut: DynamicTokenRouting", {
        "temperature": weights.config.router.temperature})  # fmt: skip
    assert [one.name for one in graph.operands if one.slot is None] == ["levels"]
    kinds = {one.name: one.slot.dtype for one in graph.operands if one.slot}
    assert {name for name, kind in kinds.items() if kind == "BF16"} == {"w1", "w2", "proj_weight"}
    assert {name for name, kind in kinds.items() if kind == "F32"} == {"b1", "b2", "scales", "norm_weight", "norm_bias",
                                                                      "proj_bias"}  # fmt: skip
    own = {one.slot.source for one in graph.operands if one.slot}
    assert not own & {slot.source for slot in graph.slots}
    whole = plan_graph(components(weights.config)["condition"], weights, "bf16", plugins=False, dynamic=False)
    assert graph.parameters == whole.parameters
    assert graph.sha256 != whole.sha256
    shapes = {"hidden_levels": [4, 1, 9, 64], "image_features": [1, 0, 64], "order": [9]}
    hidden = weights.config.language.width
    shapes["hidden_levels"][0], shapes["hidden_levels"][3] = len(weights.config.levels), hidden
    shapes["image_features"][2] = hidden
    assert halves.between(shapes) == {halves.result: [9, hidden]}


def one_node(depth=4, width=64, hidden=32):
    """A typed graph of one node between two others."""
    names = ("w1", "b1", "w2", "b2", "scales", "norm_weight", "norm_bias", "proj_weight", "proj_bias")
    dims = ((hidden, width), (hidden,), (depth, hidden), *[(depth,)] * 2, *[(width,)] * 2, (width, width), (width,))
    kind = TensorProto.BFLOAT16
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("DynamicTokenRouting", ["a", *names], ["b"],
             domain="spar", temperature=1.0), helper.make_node("Relu", ["b"], ["y"])]  # fmt: skip
    x = helper.make_tensor_value_info("x", kind, [depth, "tokens", width])
    y = helper.make_tensor_value_info("y", kind, ["tokens", width])
    tensors = [TensorProto(name=name, data_type=kind, dims=shape) for name, shape in zip(names, dims, strict=True)]
    from spar_export.functions import decomposition

    return helper.make_model(helper.make_graph(nodes, "one", [x], [y], tensors), ir_version=11,
                             functions=[decomposition("DynamicTokenRouting", 23)],
                             opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("spar", 1)])  # fmt: skip


def test_where_there_is_no_cut(weights):
    assert cutting.cut(one_node(), "DynamicTokenRouting").result == "b"
    assert cutting.cut(one_node(), "ReluLinearAttention") is None
    with pytest.raises(BackendError, match=r"width=60 and hidden=32 must be multiples of 8; leave out --cut"):
        cutting.cut(one_node(width=60), "DynamicTokenRouting")
    dit = plan_graph(components(weights.config)["lm_head"], weights, "bf16", plugins=False, dynamic=False, cut=True)
    assert dit.halves is None
    for options, said in (({"precision": "fp16"}, "our kernels read bf16"),
                          ({"stripped": True}, "plans without weights are not cut")):  # fmt: skip
        with pytest.raises(InputError, match=f"--cut with .*: {said}; leave out --cut"):
            settings_of(gpu="sm86", cut=True, **options)


class Watch(PlanQuiet):
    def __init__(self):
        self.notes = []

    def note(self, name, text):
        self.notes.append(text)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_both_plans_are_built(weights, tmp_path):
    watch, settings = Watch(), settings_of(gpu="sm86", cut=True)
    built = export_plans(weights, tmp_path, settings, only=["condition"], progress=watch, threads=1)
    assert "operators of domain spar are cut: DynamicTokenRouting" in watch.notes
    entry = read_plans(tmp_path).components["condition"]
    assert [file.file for file in entry.files] == ["condition.plan", "condition.rest.plan"]
    assert built[0].bytes == sum(file.size for file in entry.files)
    assert (entry.cut.operator, entry.operators) == ("DynamicTokenRouting", "cut: DynamicTokenRouting")
    assert status(tmp_path, weights)["condition"] == []
    (tmp_path / "condition.rest.plan").write_bytes(b"edited")
    assert status(tmp_path)["condition"] == ["condition.rest.plan is not the file that the manifest describes"]
    assert "cut=False" in status(tmp_path, weights, settings_of(gpu="sm86"))["condition"][0]


@pytest.fixture
def engines(weights, graph, tmp_path, monkeypatch):
    """Plans of the stand-in that compute what the two graphs compute; the device that they run on."""
    import json

    functions = {}
    device = fake.FakeDevice()
    device.package = package = fake.package(device, functions)
    for module in ("spar_export.tensorrt.flavours.Flavour.module", "spar_engine.backends.tensorrt.library"):
        monkeypatch.setattr(module, lambda of: package)
    monkeypatch.setattr("spar_engine.backends.tensorrt.Device", lambda number: device)
    monkeypatch.setattr("spar_export.tensorrt.stale.builder_version", lambda flavour: "tensorrt_rtx 0.0")
    monkeypatch.setattr("spar_export.tensorrt.building.verified", lambda *of: "no")
    spec = components(weights.config)["condition"]

    def tensors(values, halves):
        axes = {name: tensor.axes for name, tensor in (spec.inputs | spec.outputs).items()}
        between = {next(one.value for one in graph.operands if not one.slot): SIZES["levels"],
                   halves.result: SIZES["routed"]}  # fmt: skip
        found = {}
        for value in values:
            kind = value.type.tensor_type
            free = between.get(value.name) or axes[value.name]
            shape = [dim.dim_value or spec.sizes.get(axis, axis)
                     for dim, axis in zip(kind.shape.dim, free, strict=True)]  # fmt: skip
            found[value.name] = {"type": {1: "FLOAT", 7: "INT64", 16: "BF16"}[kind.elem_type], "shape": shape}
        return found

    def build(job, watch):
        model = graph.halves.after if job["plan"].endswith(".rest.plan") else graph.model
        whole, name = filled(graph, model, weights), job["plan"]
        about = {"computes": name, "scratch": 10, "inputs": tensors(model.graph.input, graph.halves),
                 "outputs": tensors(model.graph.output, graph.halves), "weights": {},
                 "profiles": job["profiles"]}  # fmt: skip

        def computes(given, _):
            wide = {one: to_f32(array, "BF16") if array.dtype == np.uint16 else array for one, array in given.items()}
            return {one: to_bf16(array) if about["outputs"][one]["type"] == "BF16" else array
                    for one, array in run(whole, wide).items()}  # fmt: skip

        functions[name] = computes
        with open(name, "w") as file:
            json.dump(about, file)
        return Ended({"layers": 1}, 1)

    monkeypatch.setattr("spar_export.tensorrt.child.run", build)
    export_plans(weights, tmp_path, settings_of(gpu="sm86", cut=True), only=["condition"])
    return device


def test_a_launch_between_two_engines(weights, engines, tmp_path, monkeypatch):
    """One captured graph holds engine, launch and engine; its weights lie on the GPU once, and are freed."""
    monkeypatch.setattr("spar_engine.backends.tensorrt.kernels", lambda: fake.kernels(engines))
    backend = TensorRTBackend(weights, plans=tmp_path)
    inputs = inputs_of(weights)
    got = np.asarray(backend.run("condition", inputs)["caption"])
    plain = TorchBackend(weights, precision="bf16", threads=1).run("condition", inputs)["caption"]
    truth = TorchBackend(weights, precision="fp64").run("condition", inputs)["caption"]
    assert judge("condition", "caption", got, plain, truth, "bf16").passed
    assert [len(works) for works in engines.graphs.values()] == [3]
    assert np.array_equal(backend.run("condition", inputs)["caption"], got)
    assert (engines.captured, engines.launched) == (1, 2)
    fewer = inputs | {"hidden_levels": inputs["hidden_levels"][:, :, :3], "order": np.arange(3)}
    backend.run("condition", fewer)
    assert engines.captured == 2
    backend.unload("condition")
    assert engines.graphs == {}
    backend.close()
    assert engines.live == {}


def test_a_damaged_second_plan_is_refused_before_the_first_is_used(weights, engines, tmp_path, monkeypatch):
    monkeypatch.setattr("spar_engine.backends.tensorrt.kernels", lambda: fake.kernels(engines))
    rest = tmp_path / "condition.rest.plan"
    rest.write_bytes(rest.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"condition.rest.plan is not the file that the manifest"):
        TensorRTBackend(weights, plans=tmp_path).load("condition")
    assert engines.package.deserialized == []


def test_without_our_kernels_it_is_said(weights, engines, tmp_path):
    if importlib.util.find_spec("spar_engine._cuda") is None:
        with pytest.raises(MissingDependency, match=r"_cuda\) are not built here; .* leave out --cut"):
            TensorRTBackend(weights, plans=tmp_path).load("condition")
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"operator": "DynamicTokenRouting"', '"operator": "Other"'))
    with pytest.raises((ArtefactError, MissingDependency), match=r"cut at Other, which this|are not built here"):
        TensorRTBackend(weights, plans=tmp_path).load("condition")
