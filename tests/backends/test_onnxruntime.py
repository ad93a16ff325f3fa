"""The ONNX Runtime backend: what it runs, shares, frees and refuses, and how it comes by its artefacts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from spar_engine.backends import build, onnxruntime, ort_options
from spar_engine.backends.base import Backend
from spar_engine.backends.onnxruntime import OnnxRuntimeBackend
from spar_engine.components import components
from spar_engine.errors import ArtefactError, BackendError, InputError, MissingDependency
from spar_engine.weights import Checkpoint, RandomWeights
from spar_export.onnx import export_onnx


@pytest.fixture(scope="module")
def weights(golden_dir):
    return Checkpoint.open(golden_dir("unilip-tiny") / "checkpoint")


@pytest.fixture(scope="module")
def out(weights, tmp_path_factory):
    directory = tmp_path_factory.mktemp("out")
    export_onnx(weights, directory, only=["lm_head", "modulation", "context"])
    return directory


@pytest.fixture
def backend(weights, out):
    made = OnnxRuntimeBackend(weights, artefacts=out, threads=1)
    yield made
    made.close()


def hidden(weights, rows=2, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, weights.config.language.width), dtype=np.float32)


def test_it_is_a_backend(backend):
    assert isinstance(backend, Backend)
    assert (backend.name, backend.precision, backend.provider) == ("onnxruntime", "fp32", "cpu")


def test_runs_and_frees(backend, weights):
    inputs = {"hidden_states": hidden(weights)}
    first = backend.run("lm_head", inputs)["logits"]
    assert first.dtype == np.float32
    assert first.shape == (2, weights.config.language.vocab_size)
    backend.unload("lm_head")
    backend.unload("lm_head")
    assert np.array_equal(backend.run("lm_head", inputs)["logits"], first)
    backend.close()
    with pytest.raises(BackendError, match="this backend was closed"):
        backend.run("lm_head", inputs)


def test_inputs_that_are_no_arrays_of_their_own(backend, weights):
    """Views, other orders and read-only memory give what plain arrays give."""
    plain = hidden(weights, 4)
    want = backend.run("lm_head", {"hidden_states": plain[::2].copy()})["logits"]
    assert np.array_equal(backend.run("lm_head", {"hidden_states": plain[::2]})["logits"], want)
    fixed = np.asfortranarray(plain[::2])
    fixed.flags.writeable = False
    assert np.array_equal(backend.run("lm_head", {"hidden_states": fixed})["logits"], want)
    assert np.array_equal(backend.run("lm_head", {"hidden_states": fixed.astype(np.float64)})["logits"], want)


def test_results_are_the_callers(backend, weights):
    """A later run does not change what an earlier one gave."""
    first = backend.run("lm_head", {"hidden_states": hidden(weights)})["logits"]
    kept = first.copy()
    backend.run("lm_head", {"hidden_states": hidden(weights, seed=5)})
    assert np.array_equal(first, kept)


def test_many_threads_get_their_own_results(backend, weights):
    inputs = [{"hidden_states": hidden(weights, rows=1 + seed % 3, seed=seed)} for seed in range(12)]
    alone = [backend.run("lm_head", given)["logits"] for given in inputs]
    found = [None] * len(inputs)

    def work(index):
        for _ in range(20):
            found[index] = backend.run("lm_head", inputs[index])["logits"]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(alone, found, strict=True))


def test_wrong_inputs(backend, weights):
    with pytest.raises(InputError, match=r"lm_head: inputs missing \['hidden_states'\]"):
        backend.run("lm_head", {})
    with pytest.raises(InputError, match="is int64, expected float32"):
        backend.run("lm_head", {"hidden_states": hidden(weights).astype(np.int64)})
    with pytest.raises(BackendError, match="component 'head' is unknown; there are"):
        backend.run("head", {})


def test_a_run_that_fails_names_the_component(backend, weights, monkeypatch):
    session = backend.load("lm_head")

    class Broken:
        def get_outputs(self):
            return session.get_outputs()

        def run(self, *args):
            raise RuntimeError("out of memory\nat line 3")

    monkeypatch.setitem(backend._sessions, ("lm_head", False), Broken())
    with pytest.raises(BackendError, match=r"^onnxruntime: lm_head failed: out of memory$"):
        backend.run("lm_head", {"hidden_states": hidden(weights)})


@pytest.mark.parametrize(("options", "said"), [
    ({"precision": "int8"}, r"precision='int8' is unknown; it has \['fp32'\]"),
    ({"provider": "vulkan"}, r"provider='vulkan' is unknown; it has \['auto', 'cpu', 'cuda', 'tensorrt'\]"),
    ({"threads": 0}, "threads=0 must be a whole number of at least 1"),
    ({"threads": True}, "threads=True must be"),
])  # fmt: skip
def test_wrong_options(weights, out, options, said):
    with pytest.raises(BackendError, match=said):
        OnnxRuntimeBackend(weights, artefacts=out, **options)


def test_a_gpu_that_is_not_there(weights, out, monkeypatch):
    import onnxruntime as installed

    if "CUDAExecutionProvider" not in installed.get_available_providers():
        with pytest.raises(BackendError, match=r"provider='cuda' is not in the installed build.*onnxruntime-gpu"):
            OnnxRuntimeBackend(weights, artefacts=out, provider="cuda")
    # A GPU build whose libraries are missing falls back to the CPU by itself: that is refused, not accepted.
    offered = types.SimpleNamespace(**vars(installed))
    offered.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    offered.InferenceSession = lambda graph, options, providers: installed.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "runtime", lambda: offered)
    with pytest.raises(BackendError, match="CUDAExecutionProvider does not start on this machine"):
        OnnxRuntimeBackend(weights, artefacts=out, provider="cuda").load("lm_head")


def test_what_stays_on_a_device_goes_back_in(golden_dir):
    """The path of a GPU, with the CPU as its device: bound values give what copied ones give."""
    weights = Checkpoint.open(golden_dir("unilip-tiny") / "checkpoint")
    backend = OnnxRuntimeBackend(weights, threads=1)
    spec, rng = components(weights.config)["language"], np.random.default_rng(0)
    first = spec.example(rng, tokens=5, rows=2)
    plain = backend.run("language", first)

    def bound(inputs):
        session = backend.load("language")
        return backend._run_bound(session, spec, inputs, [output.name for output in session.get_outputs()])

    found = bound(first)
    assert isinstance(found["keys"], onnxruntime.Resident)
    assert found["keys"].shape == plain["keys"].shape
    assert np.array_equal(np.asarray(found["keys"]), plain["keys"])
    assert np.array_equal(found["hidden_levels"], plain["hidden_levels"])
    after = spec.example(rng, tokens=1, rows=1, past=5)
    spec.check(after | {"past_keys": found["keys"], "past_values": found["values"]})
    want = backend.run("language", after | {"past_keys": plain["keys"], "past_values": plain["values"]})
    got = bound(after | {"past_keys": found["keys"], "past_values": found["values"]})
    assert np.array_equal(got["hidden_levels"], want["hidden_levels"])


def test_without_onnxruntime(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"needs the package onnxruntime .*pip install onnxruntime"):
        ort_options.runtime()


def test_missing_artefacts(weights, backend, tmp_path):
    with pytest.raises(ArtefactError, match=r"holds no manifest.json; make one with"):
        OnnxRuntimeBackend(weights, artefacts=tmp_path)
    with pytest.raises(ArtefactError, match="component 'dit': it is not there; rebuild with"):
        backend.load("dit")


def test_artefacts_on_demand(weights):
    """They are made once, in a child process; what is damaged is made again; torch never enters this process."""
    code = (
        "import sys, numpy as np\n"
        "from spar_engine.weights import Checkpoint\n"
        "from spar_engine.backends.onnxruntime import OnnxRuntimeBackend\n"
        "weights = Checkpoint.open(sys.argv[1])\n"
        "backend = OnnxRuntimeBackend(weights, threads=1)\n"
        "hidden = np.ones((1, weights.config.language.width), np.float32)\n"
        "print(backend.run('lm_head', {'hidden_states': hidden})['logits'].sum())\n"
        "print(sorted({'torch', 'onnx', 'spar_export'} & set(sys.modules)))\n"
    )

    def run():
        found = subprocess.run([sys.executable, "-c", code, str(weights.directory)], capture_output=True, text=True,
                               check=True)  # fmt: skip
        total, loaded = found.stdout.splitlines()
        assert loaded == "[]"
        return total, "preparing unilip for ONNX Runtime" in found.stderr

    directory = build.place_of(weights)
    total, _ = run()
    assert run() == (total, False)
    (directory / "lm_head.onnx").write_bytes(b"damaged")
    assert run() == (total, True)
    assert run() == (total, False)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert all(entry["in_place"] for entry in manifest["components"].values())


def test_the_place_follows_the_content(weights, golden_dir):
    place = build.place_of(weights)
    assert place == build.place_of(Checkpoint.open(weights.directory))
    assert place != build.place_of(Checkpoint.open(weights.directory, dit_position="none"))
    assert place != build.place_of(RandomWeights(weights.config))
    assert build.place_of(RandomWeights(weights.config)) != build.place_of(RandomWeights(weights.config, 1))


def test_what_an_export_on_demand_needs(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("SPAR_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(MissingDependency, match=r"needs the package onnx; pip install 'spar-engine\[export\]'"):
        build._export(weights, tmp_path / "onnx", taps=False)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BackendError, match=r"the exporter failed \(exit code 1\)"):
        build._export(weights, tmp_path / "onnx", taps=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match=r"cannot be written .*; set SPAR_CACHE"):
        build._export(weights, tmp_path / "file" / "onnx", taps=False)


def test_random_weights_are_written_once(tmp_path, monkeypatch):
    from tests.export.conftest import ODD

    weights = RandomWeights(ODD, 5)
    artefacts = build.prepared(weights)
    assert not artefacts.manifest.components["dit"].in_place
    backend = OnnxRuntimeBackend(weights, threads=1)
    spec = components(ODD)["modulation"]
    inputs = spec.example(np.random.default_rng(0), steps=2)
    assert backend.run("modulation", inputs)["modulation"].shape == (2, 2, 6, 24)


def test_taps_on_demand(golden_dir):
    weights = Checkpoint.open(golden_dir("spar-tiny") / "checkpoint")
    backend = OnnxRuntimeBackend(weights, threads=1)
    caption = np.random.default_rng(0).standard_normal((1, 4, weights.config.dit.caption_width), dtype=np.float32)
    seen = backend.run("context", {"caption": caption}, taps=True)
    assert {"cross_keys", "cross_values", "caption.projected", "caption.normed"} == set(seen)
    assert {"cross_keys", "cross_values"} == set(backend.run("context", {"caption": caption}))
