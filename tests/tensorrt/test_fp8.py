"""Plans in float8: the encoding, the graph against a product within its bound and torch's float8, and what is built."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from spar_engine.backends.plans import float8
from spar_engine.backends.plans.manifest import read_plans
from spar_engine.backends.plans.slots import Filling, Slot
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.doctor.oracle import judge, plain_torch
from spar_engine.errors import BackendError, InputError
from spar_engine.weights.dtypes import to_bf16, to_e4m3, to_f32
from spar_export.tensorrt import calibrate, fp8
from spar_export.tensorrt.plans import export_plans, status
from spar_export.tensorrt.settings import settings_of

from .test_typed import whole
from .typed_graphs import emulated, run, with_weights

UNIT, LEAST = 2.0**-4, 2.0**-10  # unit roundoff of e4m3, half of its smallest step
RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed (pip install '.[tensorrt]')"
)


def test_rounding_to_e4m3():
    """Every value stays itself, what lies between goes to the nearer, ties go to even, nothing leaves the range."""
    codes = np.arange(256, dtype=np.uint8)
    values = to_f32(codes, "F8_E4M3")
    nan = np.isnan(values)
    assert np.array_equal(to_e4m3(values)[~nan], codes[~nan])
    assert (to_e4m3(values)[nan] & 0x7F == 0x7F).all()
    positive = values[:127]
    middle = (positive[:-1] + positive[1:]) / 2
    even = codes[:126] + (codes[:126] & 1)
    assert np.array_equal(to_e4m3(middle), even)
    assert np.array_equal(to_e4m3(np.nextafter(middle, 0)), codes[:126])
    assert np.array_equal(to_e4m3(np.nextafter(middle, np.float32(1e9))), codes[1:127])
    assert to_e4m3(np.array([1e9, -1e9, np.inf, -0.0], np.float32)).tolist() == [0x7E, 0xFE, 0x7E, 0x80]


def test_rows_fill_the_range():
    """Factors are the least bf16 numbers that keep a row inside; a row of zeros and tiny rows have one too."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((64, 48)) * np.logspace(-12, 6, 64)[:, None]).astype(np.float32)
    weight[5] = 0
    factors = to_f32(float8.row_factors(weight), "BF16")
    below = to_f32(float8.row_factors(weight) - np.uint16(1), "BF16")
    largest = np.abs(weight).max(1)
    assert (largest / factors <= 448).all()
    assert (np.delete(largest / below, 5) > 448).all()
    assert factors[5] == 1
    got = to_f32(float8.rows(weight), "F8_E4M3") * factors[:, None]
    assert (np.abs(got - weight) <= UNIT * np.abs(weight) + LEAST * factors[:, None]).all()


def product(rows, depth, columns):
    """A typed graph of one product, as the pass finds it."""
    x = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [rows, depth])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])
    name = "model.dit.transformer_blocks.0.attn1.to_q.weight"
    nodes = [helper.make_node("Gemm", ["x", name], ["p"], transB=1, name="one"),
             helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT)]  # fmt: skip
    weight = TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=(columns, depth))
    graph = helper.make_graph(nodes, "one", [x], [y], [weight])
    return name, helper.make_model(graph, ir_version=11, opset_imports=[helper.make_opsetid("", 23)])


def test_a_product_is_within_its_bound():
    rng = np.random.default_rng(1)
    x = to_f32(to_bf16(rng.standard_normal((21, 48)).astype(np.float32)), "BF16")
    w = (rng.standard_normal((32, 48)) * np.logspace(-2, 2, 32)[:, None]).astype(np.float32)
    name, model = product(21, 48, 32)
    made = fp8.quantised(model, {name: np.abs(x).max()})
    assert [node.op_type for node in made.graph.node] == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear",
                                                          "Gemm", "Cast"]  # fmt: skip
    values = {f"{name}|e4m3": float8.rows(w), f"{name}|factors": float8.row_factors(w)}
    got = run(emulated(with_weights(made, values)), {"x": x})["y"]
    step = float(to_f32(float8.factor(np.float32(fp8.HEADROOM * np.abs(x).max())), "BF16"))
    rows = to_f32(float8.row_factors(w), "BF16")[:, None]
    # each factor of a term: rounded to e4m3, then the value times its scale once more, to bf16
    x_off = (UNIT * np.abs(x) + LEAST * step) * (1 + 2.0**-8) + 2.0**-8 * np.abs(x)
    w_off = (UNIT * np.abs(w) + LEAST * rows) * (1 + 2.0**-8) + 2.0**-8 * np.abs(w)
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    most = (np.abs(x) + x_off) @ (np.abs(w) + w_off).T
    allowed = most - np.abs(x) @ np.abs(w).T + (48 * 2.0**-23 + 2.0**-8) * most
    assert (np.abs(got - exact) <= allowed).all()
    assert np.abs(got - exact).max() > 2.0**-8 * np.abs(exact).max(), "nothing was rounded to float8"
    values[f"{name}|factors"] = np.roll(values[f"{name}|factors"], 1)
    off = run(emulated(with_weights(made, values)), {"x": x})["y"]
    assert (np.abs(off - exact) > allowed).any(), "factors of other rows were not noticed"


def test_the_step_is_as_close_as_torch_in_float8(weights, graph_of):
    spec = components(weights.config)["dit"]
    inputs = spec.example(np.random.default_rng(5))
    got = run(whole(graph_of("dit", "fp8"), weights), inputs)["velocity"]
    plain = np.asarray(plain_torch(weights, "fp8", "dit").run("dit", inputs)["velocity"])
    truth = TorchBackend(weights, precision="fp64").run("dit", inputs)["velocity"]
    row = judge("dit", "velocity", got, plain, truth, "fp8")
    assert row.passed, row
    bf16 = run(whole(graph_of("dit", "bf16"), weights), inputs)["velocity"]
    assert np.abs(got - truth).max() > np.abs(bf16 - truth).max(), "the step is not in float8"


def test_which_products_are_in_float8(weights, graph_of):
    """All of the blocks', none outside them; every other component is that of bf16."""
    graph, plain = graph_of("dit", "fp8"), graph_of("dit", "bf16")
    kinds = {tensor.name: tensor.data_type for tensor in graph.model.graph.initializer}
    bits = {name.removesuffix(fp8.BITS).partition("|")[0] for name, kind in kinds.items() if kind == fp8.E4M3}
    blocks = {name for name in weights.names("dit") if fp8.PLACES.search(name) and weights.info(name).shape[1] > 1}
    assert bits == blocks
    assert len(bits) == 8 * weights.config.dit.depth
    made = {name: node for node in graph.model.graph.node for name in node.output}
    for node in graph.model.graph.node:
        if node.op_type == "Gemm" and "transformer_blocks" in node.name:
            assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
    quantised = [node for node in graph.model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantised) == 6 * weights.config.dit.depth  # query, key and value share one
    onnx.shape_inference.infer_shapes(graph.model, strict_mode=True)
    assert set(plain.parameters) < set(graph.parameters)  # the ranges follow from the language model as well
    assert graph_of("context", "fp8").data == graph_of("context", "bf16").data


def test_ranges_come_from_pictures(weights, graph_of, monkeypatch):
    found = calibrate.largest_inputs(weights)
    assert set(found) == {name for name in weights.names("dit") if fp8.PLACES.search(name)}
    assert calibrate.largest_inputs(weights) == found
    assert len({found[name] for name in found if name.endswith((".0.attn1.to_q.weight", ".0.attn1.to_k.weight"))}) == 1
    assert len(set(found.values())) > 2 * weights.config.dit.depth
    monkeypatch.setattr(weights, "parts", [name for name in weights.parts if name != "language"])
    with pytest.raises(BackendError, match="these weights lack language; use --precision bf16"):
        calibrate.largest_inputs(weights)


def test_slots_are_exact(weights, graph_of):
    graph = graph_of("dit", "fp8")
    filling = Filling(graph.slots, weights, graph.constants.SerializeToString())
    of = {slot.name: slot for slot in graph.slots}
    name = next(slot.name for slot in graph.slots if slot.dtype == "F8_E4M3")
    bits, factors = of[name], of[name.removesuffix(fp8.BITS) + fp8.FACTORS]
    assert (factors.dtype, factors.factors, bits.factors) == ("BF16", True, False)
    weight = weights.f32(bits.source).reshape(bits.shape)
    got = to_f32(filling.array(bits), "F8_E4M3") * to_f32(filling.array(factors), "BF16")[:, None]
    assert np.abs(got - weight).max() <= UNIT * np.abs(weight).max()
    assert filling.place(bits) is filling.place(factors) is None
    short = Slot(factors.name, "BF16", (3,), factors.source, False, True)
    with pytest.raises(Exception, match="the plan wants"):
        filling.array(short)


def test_gpus_without_float8_are_refused():
    assert settings_of(precision="fp8").gpus == ("sm89", "sm120")
    with pytest.raises(InputError, match=r"--precision fp8: sm80, sm86 has no float8 products; they came with sm89"):
        settings_of(precision="fp8", gpu="sm80,sm86,sm89")
    with pytest.raises(InputError, match="leave out --strip"):
        settings_of(precision="fp8", stripped=True)


@RTX
def test_float8_plans_are_built(weights, tmp_path):
    """For the GPUs that have float8, together; the plan is smaller than that of bf16, and the manifest says fp8."""
    built = export_plans(weights, tmp_path / "fp8", settings_of(precision="fp8"), only=["dit"], threads=1)
    assert [item.name for item in built] == ["dit"]
    manifest = read_plans(tmp_path / "fp8")
    assert manifest.precision == "fp8"
    assert manifest.components["dit"].gpu == ("sm89", "sm120")
    assert status(tmp_path / "fp8", weights)["dit"] == []
    export_plans(weights, tmp_path / "bf16", settings_of(gpu="sm89,sm120"), only=["dit"], threads=1)
    assert built[0].bytes < read_plans(tmp_path / "bf16").components["dit"].plan.size
