"""Plans of TensorRT-RTX, built on this CPU: what is built, what is stale and why, what is refused."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import onnx
import pytest
from onnx import TensorProto, helper
from spar_engine.backends import gpu
from spar_engine.backends.plans.manifest import read_plans
from spar_engine.errors import ArtefactError, BackendError, InputError, MissingDependency
from spar_engine.weights import RandomWeights
from spar_export import cli
from spar_export.tensorrt import stale as staleness
from spar_export.tensorrt.child import run
from spar_export.tensorrt.plans import export_plans, status
from spar_export.tensorrt.settings import settings_in, settings_of
from spar_export.tensorrt.watch import PlanQuiet, share

from .conftest import NAMES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed (pip install '.[tensorrt]')"
)
SOME = ("lm_head", "modulation")
ALL = "sm80,sm86,sm89,sm120"


class Watch(PlanQuiet):
    """Remembers what it was told."""

    def __init__(self):
        self.shares, self.notes = [], []

    def steps(self, phases):
        self.shares.append(share(phases))

    def note(self, name, text):
        self.notes.append((name, text))


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
    """Plans of two components, for one GPU."""
    directory = tmp_path_factory.mktemp("plans")
    built = export_plans(weights, directory, settings_of(gpu="sm86"), only=SOME, threads=1)
    assert {item.name: item.reasons for item in built} == {name: ["not built"] for name in SOME}
    return directory


@pytest.fixture
def out(made, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


def reasons(built):
    return {item.name: item.reasons for item in built if item.reasons}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_all_components_for_four_gpus(weights, tmp_path, precision):
    watch = Watch()
    built = export_plans(weights, tmp_path, settings_of(precision=precision, gpu=ALL), progress=watch, threads=1)
    assert [item.name for item in built] == list(NAMES)
    manifest = read_plans(tmp_path)
    for item in built:
        entry = manifest.components[item.name]
        assert item.layers > 0
        assert (tmp_path / entry.plan.file).stat().st_size == entry.plan.size == item.bytes
        assert entry.gpu == ("sm80", "sm86", "sm89", "sm120")
        assert 10e6 < item.memory < 4e9
    operators = {name: entry.operators for name, entry in manifest.components.items() if entry.operators != "none"}
    assert operators == {"condition": "decomposed: DynamicTokenRouting", "dit": "decomposed: ReluLinearAttention",
                         "decoder": "decomposed: ReluLinearAttention"}  # fmt: skip
    said = {name for name, text in watch.notes if text.startswith("operators of domain spar are decomposed")}
    assert said == set(operators)
    assert watch.shares
    assert all(0 <= one <= 1 for one in watch.shares if one is not None)
    assert not any(status(tmp_path, weights).values())


def test_nothing_changed_builds_nothing(weights, out, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr("spar_export.tensorrt.child.run", None)
    assert reasons(export_plans(weights, out, settings_of(gpu="sm86"), only=SOME)) == {}
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_only_what_changed_is_built_again(weights, out):
    (out / "modulation.plan").write_bytes(b"edited")
    found = status(out, weights)
    assert found["lm_head"] == []
    assert found["modulation"] == ["modulation.plan is not the file that the manifest describes"]
    assert found["dit"] == ["not built"]
    built = export_plans(weights, out, settings_of(gpu="sm86"), only=SOME, threads=1)
    assert reasons(built) == {"modulation": ["modulation.plan is not the file that the manifest describes"]}
    assert status(out) == {name: [] for name in SOME}


def test_every_topic_of_the_key_has_its_reason(weights, out, monkeypatch):
    def why(settings, of=weights, name="modulation"):
        return status(out, of, settings)[name]

    assert why(settings_of(gpu="sm86")) == []
    assert why(settings_of(gpu="sm86,sm89")) == ["gpu was sm86, is sm86 sm89"]
    assert "dynamic=True" in why(settings_of(gpu="sm86", dynamic=True))[0]
    assert "stripped=True" in " ".join(why(settings_of(gpu="sm86", stripped=True)))
    assert why(settings_of(gpu="sm86"), RandomWeights(weights.config)) == ["the weights changed"]
    monkeypatch.setattr(staleness, "builder_version", lambda flavour: "tensorrt_rtx 99")
    assert why(settings_of(gpu="sm86"))[0].startswith("builder was tensorrt_rtx 1.")
    monkeypatch.undo()
    monkeypatch.setattr("spar_engine.backends.plans.identity.code", lambda: "0" * 64)
    assert why(settings_of(gpu="sm86")) == ["the exporter or the modules changed"]
    assert status(out)["lm_head"] == ["the exporter or the modules changed"]


def test_other_code_with_the_same_graph_builds_nothing(weights, out, monkeypatch):
    monkeypatch.setattr("spar_engine.backends.plans.identity.code", lambda: "0" * 64)
    before = (out / "lm_head.plan").stat().st_mtime_ns
    built = export_plans(weights, out, settings_of(gpu="sm86"), only=["lm_head"])
    assert reasons(built) == {"lm_head": ["the exporter or the modules changed"]}
    assert (out / "lm_head.plan").stat().st_mtime_ns == before
    assert status(out, weights)["lm_head"] == []


def test_settings_are_read_back(weights, out):
    found = settings_in(read_plans(out), out)
    assert (found.gpus, found.precision, found.dynamic, found.stripped) == (("sm86",), "bf16", False, False)


def test_another_precision_replaces_all(weights, out):
    assert status(out, weights, settings_of(gpu="sm86", precision="fp16"))["lm_head"][0].startswith("options was")
    built = export_plans(weights, out, settings_of(gpu="sm86", precision="fp16"), only=["lm_head"], threads=1)
    assert reasons(built) == {"lm_head": ["not built"]}
    assert list(read_plans(out).components) == ["lm_head"]


def test_buckets_and_taps(weights, tmp_path):
    """Each bucket is a profile; the plan with taps is another plan, kept fresh like the first."""
    settings = settings_of(gpu="sm86", buckets="20,40", longest=weights.config.language.max_positions)
    built = export_plans(weights, tmp_path, settings, only=["context"], taps=True, threads=1)
    assert [item.name for item in built] == ["context", "context.taps"]
    entries = read_plans(tmp_path).components
    assert [profile.name for profile in entries["context"].profiles] == ["tokens-20", "tokens-40"]
    assert entries["context"].plan.sha256 != entries["context.taps"].plan.sha256
    found = status(tmp_path, weights)
    assert found["context"] == found["context.taps"] == []
    assert status(tmp_path, weights, settings_of(gpu="sm86"))["context"][0].startswith("profiles was tokens-20")


def job_of(tmp_path, node, name="odd"):
    """A job with one node."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([node], name, values[:1], values[1:])
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("spar", 1)]
    path = tmp_path / "graph.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())
    return {"component": name, "flavour": "rtx", "graph": str(path), "weights": [], "gpu": ["sm86"], "flags": [],
            "profiles": [], "plugins": None, "plan": str(tmp_path / "odd.plan"), "timing": None,
            "threads": 1}  # fmt: skip


@pytest.mark.parametrize(("kind", "domain"), [("Unheard", ""), ("ReluLinearAttention", "spar")])
def test_a_refusal_names_operator_and_node(tmp_path, kind, domain):
    node = helper.make_node(kind, ["x"], ["y"], name="block_3/odd", domain=domain)
    said = rf"odd: the parser refuses node 'block_3/odd', operator '{kind}': neither a known operator nor a plugin"
    with pytest.raises(BackendError, match=said):
        run(job_of(tmp_path, node), lambda phases: None)


def test_a_builder_that_dies(tmp_path, monkeypatch):
    job = job_of(tmp_path, helper.make_node("Relu", ["x"], ["y"]))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BackendError, match=r"odd: the builder ended with code 1"):
        run(job, lambda phases: None)


def test_weights_are_taken_where_they_lie(weights, graph_of, tmp_path):
    """Parameters stored as the plan wants them are mapped from the checkpoint; only the others are written aside."""
    from spar_engine.backends.plans.slots import Filling

    graph = graph_of("lm_head", "bf16")
    (slot,) = graph.slots
    place = Filling(graph.slots, weights, None).place(slot)
    stored = weights.info("lm_head.weight").dtype
    assert (place is not None) == (stored == "BF16")
    if place is not None:
        assert place == (weights.place("lm_head.weight")[0], weights.place("lm_head.weight")[1].begin)
    assert isinstance(graph.model, onnx.ModelProto)


def start(weights, out):
    """`spar-export tensorrt` of the language model in a process of its own, once its builder is at work."""
    command = [sys.executable, "-m", "spar_export", "tensorrt", str(weights.directory), str(out), "--gpu", "sm86",
               "--components", "language", "--threads", "1"]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not (out / ".spar-export" / "language.plan").exists():
        assert child.poll() is None, child.stderr.read()
        assert time.time() < deadline
        time.sleep(0.01)
    return child


def builders(parent):
    """Processes that `parent` started."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(parent) and fields[0] != "Z":
                found.append(int(entry))
    return found


def test_interrupt_cancels_cleanly(weights, tmp_path):
    child = start(weights, tmp_path)
    inner = builders(child.pid)
    assert len(inner) == 1
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "interrupted; what was complete stays" in said
    assert not os.path.exists(f"/proc/{inner[0]}")
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_kill_leaves_no_builder_and_no_lock(weights, tmp_path):
    child = start(weights, tmp_path)
    inner = builders(child.pid)
    child.kill()
    child.communicate()
    deadline = time.time() + 60
    while any(os.path.exists(f"/proc/{one}") for one in inner):
        assert time.time() < deadline, "the builder outlives the process that started it"
        time.sleep(0.05)
    assert not (tmp_path / "language.plan").exists()
    built = export_plans(weights, tmp_path, settings_of(gpu="sm86"), only=["lm_head"], threads=1)
    assert reasons(built) == {"lm_head": ["not built"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lm_head.plan", "manifest.json"]


def test_strip_needs_a_gpu_here(weights, tmp_path):
    """Without a driver this version cannot build plans without weights; it is said, and nothing stays."""
    if gpu.present():
        pytest.skip("there is a GPU")
    with pytest.raises(
        BackendError, match=r"lm_head: the builder refused: .*; plans without weights .* leave out --strip"
    ):
        export_plans(weights, tmp_path, settings_of(gpu="sm86", stripped=True), only=["lm_head"], threads=1)
    assert not (tmp_path / "manifest.json").exists()


def test_the_command(weights, tmp_path, capsys):
    report = tmp_path / "report.json"
    arguments = ["tensorrt", str(weights.directory), str(tmp_path / "out"), "--gpu", "sm89", "--components", "lm_head",
                 "--threads", "1", "--report", str(report)]  # fmt: skip
    assert cli.main([*arguments, "-q"]) == 0
    assert "1 built, 0 fresh" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert found["gpu"] == ["sm89"]
    assert set(found["components"]["lm_head"]) >= {"seconds", "bytes", "memory", "layers", "reasons"}
    assert found["weights"] == found["components"]["lm_head"]["weights"] == 2 * math.prod(
        weights.info("lm_head.weight").shape)  # fmt: skip
    assert found["memory_over_weights"] == pytest.approx(found["memory"] / found["weights"], abs=1e-3)
    assert found["builder"].startswith("tensorrt_rtx 1.")
    assert found["exporter_memory"] > 10e6
    assert cli.main([*arguments, "--json", "-q"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["components"]["lm_head"]["reasons"] == []
    assert (again["built"], again["memory_over_weights"]) == (0, None)
    assert cli.main(["status", str(tmp_path / "out")]) == 0
    assert "lm_head  fresh" in capsys.readouterr().out
    assert cli.main(["status", str(tmp_path / "out"), str(weights.directory)]) == 1
    assert cli.main([*arguments[:3], "--gpu", "sm90"]) == 2
    assert "flavour rtx builds ahead of time for sm80, sm86, sm89, sm120" in capsys.readouterr().err


def test_what_cannot_be_asked_for(weights, tmp_path):
    for wrong, said in (
        ({"precision": "int4"}, "--precision int4: is unknown"), ({"flavour": "trt"}, "flavour 'trt' is unknown"),
        ({"buckets": "300,200"}, "must rise"), ({"buckets": "a"}, "must be whole numbers"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            settings_of(**wrong)
    if not gpu.present():
        with pytest.raises(MissingDependency, match=r"no NVIDIA driver|finds no GPU"):
            settings_of(flavour="tensorrt")
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ArtefactError, match="belongs to something else"):
        export_plans(weights, tmp_path, settings_of(gpu="sm86"), only=["lm_head"])
