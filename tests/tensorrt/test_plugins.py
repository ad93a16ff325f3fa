"""The C++ plugins compile against TensorRT's headers and keep their contracts over stand-ins; nodes become plugins."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from spar_engine.backends.plans.plugins import kernels, load_plugins, plugin_library
from spar_engine.components import components
from spar_engine.errors import ArtefactError
from spar_export.tensorrt import ours
from spar_export.tensorrt.cores import with_cores
from spar_export.tensorrt.graphs import PlanGraph, _slot
from spar_export.tensorrt.profiles import fixed_sizes
from spar_export.tensorrt.split import split
from spar_export.tensorrt.typed import typed
from spar_export.traces import traced

from .conftest import NAMES
from .test_typed import whole
from .typed_graphs import run

ROOT = Path(__file__).parents[2]


def headers() -> list[str]:
    """Folders with NvInfer.h and cuda_runtime_api.h; skips where one is missing."""
    wheel = importlib.util.find_spec("kernel_lens")
    tensorrt = [Path(os.environ.get("TENSORRT_ROOT", "/usr")) / "include"]
    if wheel is not None:
        tensorrt.insert(0, Path(wheel.origin).parent / "include" / "tensorrt")
    found = [place for place in tensorrt if (place / "NvInferRuntime.h").exists()]
    if not found:
        pytest.skip("no headers of TensorRT: pip install --no-deps kernel-lens==2.0.1")
    nvcc = shutil.which("nvcc")
    cuda = [Path("/usr/local/cuda/include"), *([Path(nvcc).resolve().parents[1] / "include"] if nvcc else [])]
    cuda += Path(onnx.__file__).parents[1].glob("nvidia/cu*/include")
    there = [place for place in cuda if (place / "cuda_runtime_api.h").exists()]
    if not there:
        pytest.skip("no headers of CUDA: pip install nvidia-cuda-runtime")
    return [str(found[0]), str(there[0])]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """compiled(changed): run the C++ tests, the plugins' sources changed by `changed(name, text)`."""
    places = headers()
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler")

    def run(changed=lambda name, text: text):
        folder = tmp_path_factory.mktemp("plugins")
        for path in [*(ROOT / "csrc/trt").iterdir(), ROOT / "csrc/tests/trt/plugins.cpp"]:
            (folder / path.name).write_text(changed(path.name, path.read_text()))
        command = [compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-O0",
                   f"-I{ROOT / 'csrc/include'}", f"-I{folder}", *(f"-isystem{place}" for place in places),
                   *map(str, folder.glob("*.cpp")), "-o", str(folder / "tests")]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr[-3000:]
        return subprocess.run([str(folder / "tests")], capture_output=True, text=True)

    return run


def test_contracts(compiled):
    found = compiled()
    assert found.returncode == 0, found.stdout
    assert "all checks passed" in found.stdout


def test_a_broken_plugin_is_caught(compiled):
    """Strides of the heads and of the batch taken for each other, a vector said to be bf16, a lost attribute."""
    faults = {
        "const Strides dense{args.heads * args.tokens * args.head_dim, args.tokens * args.head_dim":
            "const Strides dense{args.tokens * args.head_dim, args.heads * args.tokens * args.head_dim",
        "return i == 2 || (i >= 4 && i != 8)": "return i == 2 || i >= 4",
        "args.rows = in[0].d[1], args.columns = in[0].d[2]": "args.rows = in[0].d[2], args.columns = in[0].d[1]",
        "return new (std::nothrow) Plugin(value_)": "return new (std::nothrow) Plugin(P::kDefault)",
    }  # fmt: skip

    def changed(name, text):
        for right, wrong in faults.items():
            text = text.replace(right, wrong)
        return text

    found = compiled(changed)
    assert found.returncode == 1
    words = "query_strides", "supportsFormatCombination", "kept(*copy", "gated.rows == 5"
    assert all(word in found.stdout for word in words)


@pytest.mark.parametrize("component", NAMES)
def test_nodes_of_our_domain_become_plugins(component, graph_of):
    graph, plain = graph_of(component, "bf16", plugins=True), graph_of(component, "bf16")
    nodes = [node for node in graph.model.graph.node if node.domain == "spar"]
    assert not any(node.domain for node in plain.model.graph.node)
    assert bool(nodes) == (component in ("condition", "dit", "decoder"))
    names = ", ".join(sorted({node.op_type for node in nodes}))
    assert graph.operators == (f"plugins: {names}" if nodes else "none")
    assert not graph.model.functions
    made = {node.output[0]: node for node in graph.model.graph.node}
    for node in nodes:
        values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert (values["plugin_namespace"], values["plugin_version"]) == (b"spar", b"1")
        for place in {"DynamicTokenRouting": (2, 4, 5, 6, 7, 9), "GlumbconvCore": (2,)}.get(node.op_type, ()):
            cast = made[node.input[place]]
            assert (cast.op_type, onnx.helper.get_node_attr_value(cast, "to")) == ("Cast", TensorProto.FLOAT)


@pytest.mark.parametrize("dynamic", [False, True])
def test_cores_of_the_blocks_become_one_node(weights, dynamic):
    """One for each block; the graph computes the same, with the size of the picture fixed and free."""
    spec = components(weights.config)["dit"]
    (plain, _), found = traced(spec, weights, False), []
    for model in (plain, with_cores(plain)):
        parts = split(model, fixed_sizes(spec, dynamic))
        made = typed(model, parts, "fp32", (), ())
        assert ours.operators(made)[:1] == ["GlumbconvCore" if model is not plain else "ReluLinearAttention"]
        kinds = [node.op_type for node in made.graph.node]
        depth = weights.config.dit.depth if model is not plain else 0
        assert (kinds.count("GlumbconvCore"), kinds.count("Conv")) == (depth, weights.config.dit.depth - depth)
        made = ours.decomposed(made, TensorProto.FLOAT)
        slots = tuple(_slot(tensor, parts) for tensor in made.graph.initializer if not tensor.HasField("raw_data"))
        graph = PlanGraph(made, slots, parts.constants, "", {}, ())
        sizes = {"height": 5, "width": 3, "branch": 2} if dynamic else {}
        found.append(run(whole(graph, weights), spec.example(np.random.default_rng(2), **sizes))["velocity"])
    assert np.abs(found[0] - found[1]).max() <= 2.0**-16 * np.abs(found[0]).max()


def test_cores_between_pictures_stay(weights):
    spec = components(weights.config)["decoder"]
    model, _ = traced(spec, weights, False)
    assert with_cores(model) is model


def test_the_library_is_the_one_that_the_plan_was_built_with(tmp_path, monkeypatch):
    asked = []
    registry = SimpleNamespace(load_library=lambda path: asked.append(path) or object())
    trt = SimpleNamespace(get_plugin_registry=lambda: registry)
    monkeypatch.setenv("SPAR_TRT_PLUGINS", str(tmp_path / "nothing"))
    with pytest.raises(ArtefactError, match="is not a file; build it with -DSPAR_TENSORRT=ON"):
        plugin_library()
    library = tmp_path / "libspar_trt.so"
    library.write_bytes(b"kernels")
    monkeypatch.setenv("SPAR_TRT_PLUGINS", str(library))
    load_plugins(trt, "dit", kernels(library))
    assert asked == [str(library)]
    with pytest.raises(ArtefactError, match=r"dit: .* is not the library that its plan was"):
        load_plugins(trt, "dit", "0" * 64)
    registry.load_library = lambda path: None
    with pytest.raises(ArtefactError, match="TensorRT does not load"):
        load_plugins(trt, "dit", kernels(library))
    monkeypatch.delenv("SPAR_TRT_PLUGINS")
    if plugin_library() is None:
        assert kernels(None) == "none"
        with pytest.raises(ArtefactError, match=r"its plan needs libspar_trt\.so"):
            load_plugins(trt, "dit", "0" * 64)
