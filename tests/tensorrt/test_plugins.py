"""The C++ plugins compile against TensorRT's headers and keep their contracts over stand-ins; nodes become plugins."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto
from spar_engine.backends.plans.plugins import kernels, load_plugins, plugin_library
from spar_engine.errors import ArtefactError

from .conftest import NAMES

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
        "return new (std::nothrow) Plugin(value_)": "return new (std::nothrow) Plugin(P::kDefault)",
    }  # fmt: skip

    def changed(name, text):
        for right, wrong in faults.items():
            text = text.replace(right, wrong)
        return text

    found = compiled(changed)
    assert found.returncode == 1
    assert all(word in found.stdout for word in ("query_strides", "supportsFormatCombination", "kept(*copy"))


@pytest.mark.parametrize("component", NAMES)
def test_nodes_of_our_domain_become_plugins(component, graph_of):
    graph, plain = graph_of(component, "bf16", plugins=True), graph_of(component, "bf16")
    ours = [node for node in graph.model.graph.node if node.domain == "spar"]
    assert not any(node.domain for node in plain.model.graph.node)
    assert bool(ours) == (component in ("condition", "dit", "decoder"))
    assert graph.operators == (f"plugins: {ours[0].op_type}" if ours else "none")
    assert not graph.model.functions
    made = {node.output[0]: node for node in graph.model.graph.node}
    for node in ours:
        values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert (values["plugin_namespace"], values["plugin_version"]) == (b"spar", b"1")
        if node.op_type == "DynamicTokenRouting":
            for place in (2, 4, 5, 6, 7, 9):
                cast = made[node.input[place]]
                assert (cast.op_type, onnx.helper.get_node_attr_value(cast, "to")) == ("Cast", TensorProto.FLOAT)


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
