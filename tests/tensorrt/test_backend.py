"""The TensorRT backend over a stand-in for the package and the GPU: lanes, captures, weights, and every refusal."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from spar_engine.backends import choose, gpu
from spar_engine.backends.manifest import GraphFile
from spar_engine.backends.plans import identity
from spar_engine.backends.plans.lane import CAPTURES, OnDevice
from spar_engine.backends.plans.loop import rows as rows_of
from spar_engine.backends.plans.manifest import PlanEntry, PlanManifest, Profile, read_plans
from spar_engine.backends.plans.part import EngineStep
from spar_engine.backends.plans.slots import Slot
from spar_engine.backends.tensorrt import TensorRTBackend
from spar_engine.components import components
from spar_engine.errors import ArtefactError, BackendError, InputError, MissingDependency
from spar_engine.pipelines.call import run
from spar_engine.pipelines.denoise import Context, draw
from spar_engine.pipelines.parts import Parts
from spar_engine.samplers import Sampler, noise
from spar_engine.weights import RandomWeights, write_safetensors
from spar_engine.weights.dtypes import to_bf16, to_f32
from spar_engine.weights.lora import with_loras
from spar_export.tensorrt.building import timing_cache

from . import fake

TYPES = {"float32": "FLOAT", "int64": "INT64"}
STAYS = ("cross_keys", "cross_values", "keys", "values", "past_keys", "past_values")


def wide(bits):
    return to_f32(np.ascontiguousarray(bits), "BF16")


def logits(given, weights):
    hidden = given["hidden_states"]
    return {"logits": hidden @ wide(weights["lm_head.weight"]).reshape(-1, hidden.shape[1]).T}


def spread(given, weights):
    caption = given["caption"].mean(-1)[None, :, None, :, None]
    shape = next(iter(weights.values()), np.zeros(1)).size
    return {"cross_keys": to_bf16(caption + 0 * shape), "cross_values": to_bf16(2 * caption)}


def total(given, weights):
    keys, values = wide(given["cross_keys"]).mean((0, 2, 3, 4)), wide(given["cross_values"]).mean((0, 2, 3, 4))
    steps = given["modulation"].mean() + given["final_modulation"][0, 1, -1]
    return {"velocity": 0.3 * given["latent"] + (keys + values)[:, None, None, None] + steps}


FUNCTIONS = {"logits": logits, "spread": spread, "total": total}
COMPUTES = {"lm_head": ("logits", 300), "context": ("spread", 500), "dit": ("total", 100)}
LIMITS = {"batch": (1, 4), "branch": (1, 2), "tokens": (1, 40), "height": (1, 64), "width": (1, 64)}


def plan_of(spec, stripped):
    """The bytes of a plan for one component."""

    def io(tensors):
        return {name: {"type": "BF16" if name in STAYS else TYPES[tensor.dtype],
                       "shape": [spec.sizes.get(axis, axis) for axis in tensor.axes]}
                for name, tensor in tensors.items()}  # fmt: skip

    def shapes(which):
        return {name: [axis if isinstance(axis, int) else spec.sizes.get(axis, LIMITS.get(axis, (1, 1))[which])
                       for axis in tensor.axes] for name, tensor in spec.inputs.items()}  # fmt: skip

    computes, scratch = COMPUTES[spec.name]
    count = spec.sizes.get("vocabulary", 0) * spec.sizes.get("hidden", 0)
    limits = {name: [shapes(0)[name], shapes(1)[name], shapes(1)[name]] for name in spec.inputs}
    about = {"computes": computes, "scratch": scratch, "inputs": io(spec.inputs), "outputs": io(spec.outputs),
             "weights": {"lm_head.weight": count} if stripped else {}, "profiles": [limits]}  # fmt: skip
    return json.dumps(about).encode()


def record(directory, name, data):
    (directory / name).write_bytes(data)
    return GraphFile(name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def plans(weights, tmp_path):
    """A directory of plans as the exporter writes it."""
    specs, entries = components(weights.config), {}
    for name in COMPUTES:
        stripped = name == "lm_head"
        shape = weights.info("lm_head.weight").shape
        slots = (Slot("lm_head.weight", "BF16", shape, "lm_head.weight", False),) if stripped else ()
        parameters = ("lm_head.weight",) if stripped else ()
        key = {"configuration": identity.configuration(name, weights.config), "builder": "tensorrt_rtx 0.0",
               "weights": identity.weights_key(weights, parameters, stripped)}  # fmt: skip
        profile = Profile("usual", {axis: (low, high, high) for axis, (low, high) in LIMITS.items()})
        plan = record(tmp_path, f"{name}.plan", plan_of(specs[name], stripped))
        constants = record(tmp_path, f"{name}.constants.onnx", b"a graph") if name == "dit" else None
        entries[name] = PlanEntry(plan, constants, slots, stripped, key, ("sm86",), (profile,), {"batch": 1} if
                                  name == "dit" else {}, "none", parameters, 1.0, 1, "no")  # fmt: skip
    timing = {"sm86": record(tmp_path, "timing-sm86.cache", b"timings of kernels")}
    manifest = PlanManifest(weights.config.name, "rtx", "bf16", timing, entries)
    (tmp_path / "manifest.json").write_text(manifest.dumps())
    return tmp_path


@pytest.fixture
def device(monkeypatch):
    device = fake.FakeDevice()
    device.package = fake.package(device, FUNCTIONS)
    monkeypatch.setattr("spar_engine.backends.tensorrt.Device", lambda number: device)
    monkeypatch.setattr("spar_engine.backends.tensorrt.library", lambda flavour: device.package)
    return device


def hidden_of(weights, rows=2, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, weights.config.language.width), dtype=np.float32)


def test_weights_are_put_in_and_runs_are_captured_once(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    matrix = to_f32(to_bf16(weights.f32("lm_head.weight")), "BF16")
    for seed in range(3):
        hidden = hidden_of(weights, seed=seed)
        got = backend.run("lm_head", {"hidden_states": hidden})["logits"]
        np.testing.assert_allclose(got, hidden @ matrix.T, rtol=1e-5, atol=1e-5)
    assert (device.captured, device.launched) == (1, 3)
    backend.run("lm_head", {"hidden_states": hidden_of(weights, 3)})
    assert (device.captured, device.launched) == (2, 4)
    assert device.package.contexts == 2, "a captured graph has a context to itself"
    assert (backend.name, backend.precision) == ("tensorrt", "bf16")
    backend.close()
    assert device.live == {}
    assert device.graphs == {}
    with pytest.raises(BackendError, match="was closed"):
        backend.run("lm_head", {"hidden_states": hidden_of(weights)})


def test_values_stay_on_the_gpu(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    spec = components(weights.config)["dit"]
    inputs = spec.example(np.random.default_rng(1), branch=1, tokens=5)
    caption = np.random.default_rng(2).standard_normal((1, 5, weights.config.dit.caption_width), dtype=np.float32)
    context = backend.run("context", {"caption": caption})
    keys = context["cross_keys"]
    assert isinstance(keys, OnDevice)
    assert keys.shape == inputs["cross_keys"].shape
    bits = to_f32(to_bf16(caption.mean(-1)), "BF16")
    assert np.array_equal(np.asarray(keys)[0, 0, 0, :, 0], bits[0])
    other = backend.run("context", {"caption": caption + 1})["cross_keys"]
    assert np.array_equal(np.asarray(keys)[0, 0, 0, :, 0], bits[0]), "a later run overwrote it"
    got = backend.run("dit", inputs | context)["velocity"]
    want = backend.run("dit", inputs | {name: np.asarray(value) for name, value in context.items()})["velocity"]
    assert np.array_equal(got, want)
    before = len(device.live)
    del keys, context, other
    assert len(device.live) == before - 3  # the other result for values is gone already


def test_what_stays_in_another_type_than_a_plan_takes_goes_as_an_array(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    hidden = to_bf16(hidden_of(weights))
    given = fake.there(device, hidden), wide(hidden)
    got, want = (backend.run("lm_head", {"hidden_states": one})["logits"] for one in given)
    assert np.array_equal(got, want)


def test_a_new_plan_takes_over_between_two_runs(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    hidden = {"hidden_states": hidden_of(weights)}
    first = backend.run("lm_head", hidden)["logits"]
    manifest = read_plans(plans)
    without = {name: entry for name, entry in manifest.components.items() if name != "lm_head"}
    (plans / "manifest.json").write_text(dataclasses.replace(manifest, components=without).dumps())
    backend.run("lm_head", hidden)  # it is just being replaced: the old one answers
    assert len(device.package.deserialized) == 1
    plan = record(plans, "lm_head.plan", (plans / "lm_head.plan").read_bytes() + b" ")
    newer = dataclasses.replace(manifest.components["lm_head"], plan=plan)
    changed = manifest.components | {"lm_head": newer}
    (plans / "manifest.json").write_text(dataclasses.replace(manifest, components=changed).dumps())
    assert np.array_equal(backend.run("lm_head", hidden)["logits"], first)
    assert device.package.deserialized[-1].endswith(b" ")
    assert len(device.package.deserialized) == 2
    (plans / "manifest.json").write_text("damaged")
    assert np.array_equal(backend.run("lm_head", hidden)["logits"], first)


def test_another_backend_serves_until_a_plan_is_there(weights, plans, device, capsys):
    backend = TensorRTBackend(weights, plans=plans, fallback="native")
    steps = {"timesteps": np.array([999.0, 500.0], np.float32)}
    got = backend.run("modulation", steps)["modulation"]
    plain = choose.open_backend("torch", weights, precision="fp32").run("modulation", steps)["modulation"]
    assert np.abs(got - plain).max() <= 0.02 * np.abs(plain).max()
    said = capsys.readouterr().err
    assert said.startswith("tensorrt: modulation runs on native: ")
    assert "there is no plan of it; rebuild with" in said
    backend.run("modulation", steps)
    assert capsys.readouterr().err == ""
    caption = np.ones((1, 5, weights.config.dit.caption_width), np.float32)
    assert isinstance(backend.run("context", {"caption": caption})["cross_keys"], OnDevice)
    backend.close()


def drawn(backend, weights, steps, seed=0, branches=2, offers=("image",), scale=4.5, kept=lambda values: values):
    """A picture of `steps` steps, as the pipeline draws it, with `kept` for the tables of its schedule."""
    d, rng = weights.config.dit, np.random.default_rng(seed)
    caption = rng.standard_normal((branches, 5, d.caption_width), dtype=np.float32)
    found = backend.run("context", {"caption": caption})
    where = Context(found["cross_keys"], found["cross_values"], np.full(branches, 5))
    sampler = Sampler.of(weights.config.sampler, steps)
    start = noise(seed, (d.in_channels, 3, 5))
    work = draw(Parts(weights.config, None, None), where, start, sampler, scale)

    def answer(component, inputs):
        made = backend.run(component, inputs)
        return {name: kept(value) for name, value in made.items()} if component == "modulation" else made

    return run(work, answer, offers=offers)


def test_all_steps_are_one_graph(weights, plans, device, monkeypatch):
    """The sampler's steps, guidance and solver are one launch; the picture is that of single steps."""
    monkeypatch.setattr("spar_engine.backends.tensorrt.kernels", lambda: fake.kernels(device))
    backend = TensorRTBackend(weights, plans=plans, fallback="torch")  # for what has no plan here
    device.captured = 0
    whole = drawn(backend, weights, 4)
    loop = max(device.graphs.values(), key=len)
    assert len(loop) == 2 * 4  # an engine and a launch for each step
    single = drawn(backend, weights, 4, offers=())
    assert np.abs(whole - single).max() <= 1e-4 * np.abs(single).max()
    captures, launches = device.captured, device.launched
    tables = drawn(backend, weights, 4, kept=lambda values: fake.there(device, values))
    assert np.array_equal(tables, whole), "tables that stay on the GPU"
    assert (device.captured, device.launched) == (captures, launches + 2)  # context, loop
    launches = device.launched
    other = drawn(backend, weights, 4, seed=1, scale=2.0)
    assert device.captured == captures, "other noise, prompt and guidance need no other graph"
    assert device.launched == launches + 2
    assert np.abs(other - drawn(backend, weights, 4, seed=1, scale=2.0, offers=())).max() <= 1e-4 * np.abs(other).max()
    alone = drawn(backend, weights, 4, branches=1, scale=1.0)
    assert np.abs(alone - drawn(backend, weights, 4, branches=1, scale=1.0, offers=())).max() <= 1e-4
    drawn(backend, weights, 6)
    assert max(map(len, device.graphs.values())) == 12
    backend.unload("dit")
    assert max(map(len, device.graphs.values())) == 1
    backend.close()
    gc.collect()  # tables are held by caches, and those by their store
    assert device.live == {}


def test_a_whole_picture_is_offered_where_our_kernels_are(weights, plans, device, monkeypatch):
    backend = TensorRTBackend(weights, plans=plans)
    for built in (True, False):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, built=built: object() if built else None)
        assert backend.offers == ({"image"} if built else set())
    monkeypatch.undo()
    rows = rows_of(np.arange(3 * 70, dtype=np.float32).reshape(3, 2, 5, 7))
    assert rows.shape == (3, 128)
    assert rows[2, :70].tolist() == list(range(140, 210))
    for shape in ((3, 2, 5, 7), (3, 1, 64)):
        table = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        assert np.array_equal(np.asarray(rows_of(fake.there(device, table))), rows_of(table))
    with pytest.raises(ValueError, match="cannot be seen as"):
        fake.there(device, table).reshape(5, 5)


def test_one_arena_for_all_components(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    sizes = []
    plain = device.allocate
    device.allocate = lambda size: sizes.append(size) or plain(size)
    for name in ("lm_head", "context", "dit"):
        backend.load(name)
    caption = np.zeros((1, 5, weights.config.dit.caption_width), np.float32)
    backend.run("context", {"caption": caption})
    backend.run("lm_head", {"hidden_states": hidden_of(weights)})
    assert sizes.count(500) == 1
    assert 300 not in sizes


def test_a_plan_that_cannot_be_captured(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    device.package.capturable = False
    with pytest.raises(BackendError, match="the plan of lm_head cannot be captured into a graph; build it again"):
        backend.run("lm_head", {"hidden_states": hidden_of(weights)})
    device.package.capturable = True
    backend.run("lm_head", {"hidden_states": hidden_of(weights)})
    backend.close()
    assert device.live == {}


def test_contexts_of_tensorrt_itself():
    """It has no kernels to compile at run time: the strategy is all that a context is told."""
    trt = SimpleNamespace(DataType=fake.DataType, TensorIOMode=fake.TensorIOMode,
                          ExecutionContextAllocationStrategy=fake.ExecutionContextAllocationStrategy)  # fmt: skip
    engine = SimpleNamespace(num_io_tensors=0, device_memory_size_v2=0, create_execution_context=lambda told: told)
    step = EngineStep("dit", engine, None, trt)
    assert step.context() is fake.ExecutionContextAllocationStrategy.USER_MANAGED


def test_captures_do_not_pile_up(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans)
    for tokens in range(1, CAPTURES + 5):
        backend.run("context", {"caption": np.zeros((1, tokens, weights.config.dit.caption_width), np.float32)})
    assert len(device.graphs) == CAPTURES
    backend.unload("context")
    assert device.graphs == {}


def test_threads_share_engines(weights, plans, device):
    backend = TensorRTBackend(weights, plans=plans, lanes=2)
    matrix, wrong = to_f32(to_bf16(weights.f32("lm_head.weight")), "BF16"), []

    def work(seed):
        for rows in (1, 2, 3):
            hidden = hidden_of(weights, rows, seed)
            got = backend.run("lm_head", {"hidden_states": hidden})["logits"]
            if not np.allclose(got, hidden @ matrix.T, rtol=1e-5, atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert backend._made <= 2
    assert len(device.package.deserialized) == 1


def test_a_b_a_is_a(weights, plans, device, tmp_path):
    width, rank = weights.info("lm_head.weight").shape[1], 2
    rng = np.random.default_rng(0)
    down = rng.standard_normal((rank, width), dtype=np.float32)
    up = rng.standard_normal((weights.info("lm_head.weight").shape[0], rank), dtype=np.float32)
    file = tmp_path / "lora.safetensors"
    write_safetensors(file, [("lm_head.lora_A.weight", "F32", down.shape, lambda: down),
                             ("lm_head.lora_B.weight", "F32", up.shape, lambda: up)])  # fmt: skip
    backend = TensorRTBackend(weights, plans=plans)
    hidden = {"hidden_states": hidden_of(weights)}
    first = backend.run("lm_head", hidden)["logits"].copy()
    backend.refit(with_loras(weights, [f"{file}:0.5"]))
    second = backend.run("lm_head", hidden)["logits"].copy()
    backend.refit(weights)
    assert np.array_equal(first, backend.run("lm_head", hidden)["logits"])
    assert np.abs(first - second).max() > 1e-2
    backend.load("context")
    with pytest.raises(BackendError, match="the plan of context holds its weights; build it with --strip"):
        backend.refit(weights)


def test_all_weights_are_accounted_for(weights, plans, device):
    manifest = read_plans(plans)
    entry = manifest.components["lm_head"]
    other = dataclasses.replace(entry.slots[0], name="lm_head.other")
    for slots, said in (((), r"1 missing \['lm_head.weight'\], 0 unused"),
                        ((*entry.slots, other), r"0 missing \[\], 1 unused \['lm_head.other'\]"),
                        ((dataclasses.replace(entry.slots[0], shape=(3,)),), "the plan wants")):  # fmt: skip
        changed = manifest.components | {"lm_head": dataclasses.replace(entry, slots=slots)}
        (plans / "manifest.json").write_text(dataclasses.replace(manifest, components=changed).dumps())
        with pytest.raises(ArtefactError, match=said):
            TensorRTBackend(weights, plans=plans).load("lm_head")


def test_refusals(weights, plans, device, tmp_path):
    def refused(said, component="lm_head", of=weights, **options):
        with pytest.raises((ArtefactError, BackendError, InputError), match=said):
            TensorRTBackend(of, **({"plans": plans} | options)).load(component)

    refused("give plans=DIRECTORY", plans=None)
    refused("holds no manifest.json; make one with: spar-export tensorrt", plans=tmp_path / "nothing")
    refused("precision='fp16', but the plans in .* are bf16", precision="fp16")
    refused("fallback='cpu' must be cuda, native, onnxruntime, torch or None", fallback="cpu")
    refused("lanes=0 must be a whole number", lanes=0)
    refused("component 'vision': there is no plan of it; rebuild with: spar-export tensorrt .* --components vision",
            "vision")  # fmt: skip
    refused("component 'nothing' is unknown", "nothing")
    device.capability = "sm90"
    refused("it was built for sm86, this GPU is sm90; rebuild with: .* --gpu sm90")
    device.capability = "sm86"
    device.package.__version__ = "9.9"
    refused("it was built by tensorrt_rtx 0.0, this is tensorrt_rtx 9.9")
    device.package.__version__ = "0.0"
    other = RandomWeights(dataclasses.replace(weights.config, query_count=7))
    refused("the weights changed|the configuration changed", "context", other)
    assert device.package.deserialized == []
    backend = TensorRTBackend(weights, plans=plans)
    with pytest.raises(InputError, match=r"no profile of the plan takes .*; it was built for usual: batch 1..4"):
        backend.run("lm_head", {"hidden_states": hidden_of(weights, 5)})
    inputs = components(weights.config)["dit"].example(np.random.default_rng(0), batch=2, branch=2, tokens=5)
    with pytest.raises(InputError, match=r"`latent` has batch=2, the plan was built for 1; build it with --dynamic"):
        backend.run("dit", inputs)


def test_links_are_not_followed(weights, plans, device, tmp_path):
    (plans / "lm_head.plan").rename(plans / "elsewhere")
    (plans / "lm_head.plan").symlink_to(plans / "elsewhere")
    with pytest.raises(ArtefactError, match=r"lm_head.plan is a link"):
        TensorRTBackend(weights, plans=plans).load("lm_head")


def test_random_damage_is_refused_before_it_is_used(weights, plans, device):
    """100 flipped bits and cut files: plans, manifests, timing caches and ONNX files; nothing reaches the runtime."""
    generator = random.Random(3)
    files = ["lm_head.plan", "manifest.json", "timing-sm86.cache", "dit.constants.onnx"]
    refused = 0
    for trial in range(100):
        path = plans / files[trial % 4]
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data[: generator.randrange(len(data))] if trial % 5 == 4 else damaged)
        device.package.deserialized.clear()
        before = json.loads(data)["components"] if path.name == "manifest.json" else None
        try:
            manifest = read_plans(plans)
            timing_cache(plans, manifest, "sm86")
            backend = TensorRTBackend(weights, plans=plans)
            backend.load("lm_head")
            entry = manifest.components["dit"]
            backend._plans.plan("dit", entry.constants)
        except (ArtefactError, MissingDependency) as error:
            said = str(error)
            assert "\n" not in said
            if path.name == "lm_head.plan":
                assert device.package.deserialized == []
                assert "rebuild with: spar-export tensorrt" in said
            refused += 1
        else:  # only what nothing depends on may pass
            assert path.name == "manifest.json"
            after = json.loads(path.read_text())["components"]
            for topic in ("plan", "slots", "stripped"):
                assert before["lm_head"][topic] == after["lm_head"][topic]
        path.write_bytes(data)
    assert refused >= 90


@pytest.mark.skipif(gpu.present(), reason="there is a GPU")
def test_without_a_driver(weights, plans, monkeypatch):
    monkeypatch.setattr("spar_engine.backends.tensorrt.library", lambda flavour: fake.package(None, {}))
    with pytest.raises(MissingDependency, match=r"there is no NVIDIA driver on this machine|finds no GPU"):
        TensorRTBackend(weights, plans=plans)


def test_choosing_it(weights, monkeypatch):
    assert "tensorrt" in choose.NAMES
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "tensorrt_rtx" else None)
    assert choose.resolve("tensorrt") == ("tensorrt", "asked for")
    with pytest.raises(MissingDependency, match="no backend is installed"):
        choose.resolve("auto")  # it is never taken unasked
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"backend='tensorrt' needs tensorrt_rtx or tensorrt"):
        choose.resolve("tensorrt")
    monkeypatch.undo()
    with pytest.raises(BackendError, match="give plans=DIRECTORY"):
        choose.open_backend("tensorrt", weights)
