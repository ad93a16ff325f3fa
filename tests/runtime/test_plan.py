"""Memory plans beside what is really held, budgets that are kept or refused, and pictures of other sizes."""

import json
import threading
import time

import numpy as np
import pytest
import spar_engine
from spar_engine.backends import native_memory, ort_memory
from spar_engine.components import components
from spar_engine.errors import BackendError, Busy, InputError, OverBudget

PICTURE = (np.random.default_rng(0).random((97, 150, 3)) * 255).astype(np.uint8)
FAST = {"num_inference_steps": 2}
TASKS = {
    "generate": lambda e: e.generate("a boat", seed=1, **FAST),
    "edit": lambda e: e.edit(PICTURE, "make it blue", seed=1, **FAST),
    "reconstruct": lambda e: e.reconstruct(PICTURE),
    "ask": lambda e: e.ask(PICTURE, "What is it?", max_new_tokens=4),
}
# Axes of which two sizes are run: in the first what is constant counts most, in the second what grows.
LARGER = {
    "vision": {"height": 448, "width": 448}, "language": {"tokens": 400, "rows": 400}, "lm_head": {"batch": 1},
    "condition": {"rows": 400, "tokens": 400}, "context": {"branch": 2, "tokens": 500}, "modulation": {"steps": 60},
    "dit": {"branch": 8, "batch": 4, "height": 16, "width": 16, "tokens": 300}, "streams": {"tokens": 256},
    "decoder": {"height": 12, "width": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(golden_dir):
    return golden_dir("spar-tiny") / "checkpoint"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_native_plan_is_what_is_held(checkpoint, precision):
    """Weights within 10 %; scratch never above the plan, and at least half of it once it is over a megabyte."""
    pytest.importorskip("spar_engine._native")
    with spar_engine.load(checkpoint, backend="native", precision=precision, threads=1) as engine:
        backend, rng = engine.backend, np.random.default_rng(0)
        for name, spec in components(engine.config).items():
            for axes in ({}, LARGER[name]):
                inputs = spec.example(rng, **axes)
                sizes = spec.check(inputs)
                planned, scratch = backend.memory(name, sizes)
                backend.load(name)
                held = backend._model.packed(name).nbytes
                assert 0.98 * held <= planned <= 1.1 * held, name
                backend.trim()
                assert backend._model.scratch == 0
                backend.run(name, inputs)
                used = backend._model.scratch
                assert used <= scratch, (name, axes)
                assert scratch <= 2 * used or scratch < 1 << 20, (name, axes)
                assert backend.memory(name, sizes)[0] == held  # once loaded it is known
                backend.unload(name)


def resident():
    with open("/proc/self/status") as file:
        return {line.split(":")[0]: int(line.split()[1]) << 10 for line in file if line.endswith("kB\n")}


@pytest.mark.parametrize("name", ["vision", "language", "dit", "decoder"])
def test_the_onnxruntime_plan_is_near_what_is_held(checkpoint, name):
    """Of a run that takes megabytes the growth of the process is between a third of the plan and a half more."""
    with spar_engine.load(checkpoint, backend="onnxruntime", threads=1) as engine:
        spec = components(engine.config)[name]
        inputs = spec.example(np.random.default_rng(0), **LARGER[name])
        weights, scratch = engine.backend.memory(name, spec.check(inputs))
        engine.backend.load(name)
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forget the highest so far
        except OSError:
            pytest.skip("this system does not tell the highest memory use anew")
        before = resident()["VmRSS"]
        engine.backend.run(name, inputs)
        grown = resident()["VmHWM"] - before
        outputs = sum(ort.nbytes for ort in engine.backend.run(name, inputs).values())
    assert grown <= 1.5 * (scratch + outputs), (grown, scratch, outputs)
    assert scratch <= 3 * grown or scratch < 4 << 20, (grown, scratch)
    stored = 4 * sum(int(np.prod(engine.backend.weights.info(own).shape)) for own in engine.backend.weights.names(name))
    assert 2 * stored < weights < 2 * stored + (2 << 20)
    assert ort_memory.scratch(name, spec.check(inputs), engine.config) == scratch


def test_a_plan_tells_components_and_grows_with_the_request(checkpoint):
    with spar_engine.load(checkpoint, backend="native", threads=1) as engine:
        plan = engine.plan("generate", "a boat")
        assert list(plan.components) == ["language", "condition", "context", "modulation", "dit", "decoder"]
        assert plan.verdict == "fits"
        assert plan.least < plan.peak
        assert "decoder" in str(plan)
        large = engine.plan("generate", "a boat", size=256).components
        assert large["decoder"].scratch > 3 * plan.components["decoder"].scratch
        assert large["decoder"].weights == plan.components["decoder"].weights
        assert engine.plan("generate", guidance_scale=1).values < engine.plan("generate").values
        assert "vision" in engine.plan("edit").components
        assert list(engine.plan("reconstruct").components) == ["vision", "streams", "decoder"]
        assert engine.plan("ask", max_new_tokens=900).values > engine.plan("ask", max_new_tokens=9).values
        assert "vision" not in engine.plan("ask", image=False).components
        assert not engine.metrics()["components"]  # nothing ran
        with pytest.raises(InputError, match="task='draw'"):
            engine.plan("draw")
    with (
        spar_engine.load(checkpoint, backend="torch", threads=1) as engine,
        pytest.raises(BackendError, match="cannot tell"),
    ):
        engine.plan("generate")
    with pytest.raises(BackendError, match="memory_budget is not supported"):
        spar_engine.load(checkpoint, backend="torch", memory_budget=1 << 30)


class Held:
    """An observer that notes the most that the native model held after a run: packed weights and scratch memory."""

    def __init__(self, engine):
        self.engine, self.highest = engine, 0

    def ran(self, requests, component, inputs, begin, end):
        model = self.engine.backend._model
        loaded = sum(model.packed(name).nbytes for name in components(self.engine.config) if model.loaded(name))
        self.highest = max(self.highest, loaded + model.scratch)

    def finished(self, request, outcome, begin, end):
        pass


def results(engine):
    found = {task: run(engine) for task, run in TASKS.items()}
    return {task: made.token_ids if task == "ask" else made.pictures[0].pixels.tolist() for task, made in found.items()}


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_a_tight_budget_is_kept_by_unloading_and_changes_no_bit(checkpoint, backend):
    with spar_engine.load(checkpoint, backend=backend, threads=1) as engine:
        want = results(engine)
        plans = {task: engine.plan(task, max_new_tokens=4) for task in TASKS}
    budget = int(1.2 * max(plan.least - plan.caches for plan in plans.values()))
    assert budget < max(plan.peak - plan.caches for plan in plans.values())
    with spar_engine.load(checkpoint, backend=backend, threads=1, memory_budget=budget, cache_bytes=100_000) as engine:
        plan, held = engine.plan("edit"), Held(engine)
        assert plan.verdict == "fits by unloading components between uses"
        assert plan.strips == {}
        if backend == "native":
            engine._scheduler.observers.append(held)
        assert results(engine) == want
        assert engine.metrics()["unloads"] > 0
        assert engine.metrics()["cut_runs"] == 0  # what unloading settles is not cut
        assert held.highest <= budget


def test_a_budget_below_the_whole_decoder_cuts_it_and_changes_no_bit(checkpoint, tmp_path):
    pytest.importorskip("spar_engine._native")
    with spar_engine.load(checkpoint, backend="native", threads=1) as engine:
        want = results(engine)
        plans = {task: engine.plan(task, max_new_tokens=4) for task in TASKS}
        assert plans["generate"].strips == {}  # without a budget nothing is cut
    assert plans["generate"].least_in_strips < plans["generate"].least
    assert plans["ask"].least_in_strips == plans["ask"].least  # it has no decoder
    budget = int(1.05 * max(plan.least_in_strips - plan.caches for plan in plans.values()))
    with spar_engine.load(checkpoint, backend="native", threads=1, memory_budget=budget, cache_bytes=100_000) as engine:
        plan, held = engine.plan("edit"), Held(engine)
        cut = plan.strips["decoder"]
        assert plan.verdict == f"fits by unloading components between uses and running decoder in {cut[0]} strips"
        assert "with the decoder in strips" in str(plan)
        need = plan.components["decoder"]
        room = budget - plan.values - plan.caches
        cheaper = list(need.cut)[: list(need.cut).index(cut)]
        assert need.weights + need.cut[cut] <= room < need.weights + min([need.scratch, *map(need.cut.get, cheaper)])
        engine._scheduler.observers.append(held)
        with engine.trace(tmp_path / "trace.json"):
            assert results(engine) == want
        asked = ("generate", "a boat"), ("edit", "make it blue"), ("reconstruct", None)
        real = [engine.plan(task, words, num_inference_steps=2) for task, words in asked]
        assert engine.metrics()["cut_runs"] == sum(bool(plan.strips) for plan in real) >= 1
        assert held.highest <= budget
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    ran = [event for event in events if event.get("cat") == "component"]
    assert {event["name"].split("[")[0] for event in ran if "strips" in event["args"]} == {"decoder"}
    for event in ran:
        if "strips" in event["args"]:  # real prompts are shorter than planned, and may need fewer
            assert (event["args"]["strips"], event["args"]["stages_cut"]) in need.cut


def test_what_cannot_fit_is_refused_before_any_work(checkpoint):
    with spar_engine.load(checkpoint, backend="native", threads=1) as engine:
        small = engine.plan("generate", "a boat")
    budget = small.least_in_strips - small.caches + 200_000
    with spar_engine.load(checkpoint, backend="native", threads=1, memory_budget=budget, cache_bytes=0) as engine:
        assert TASKS["generate"](engine).pictures
        before = engine.metrics()["components"]
        with pytest.raises(OverBudget, match=r"generate needs \d+ MB with one component .* memory_budget is"):
            engine.generate("a boat", seed=1, size=256, **FAST)
        assert engine.plan("generate", size=256).verdict == "does not fit"
        assert engine.metrics()["components"] == before
        # Two at once do not fit either, and the second one is told to come again.
        begun, go = threading.Event(), threading.Event()
        first = threading.Thread(target=lambda: engine.generate(
            "a boat", seed=1, on_step=lambda step: (begun.set(), go.wait(20)), **FAST))  # fmt: skip
        first.start()
        assert begun.wait(20)
        with pytest.raises(Busy, match="hold the memory that generate needs"):
            engine.generate("a boat and more than one word", seed=1, **FAST)
        go.set()
        first.join(20)
        for _ in range(100):
            if not engine._budget._running:
                break
            time.sleep(0.05)
        assert TASKS["generate"](engine).pictures


def test_other_sizes_are_drawn_exactly_and_marked(checkpoint):
    with spar_engine.load(checkpoint, backend="torch", threads=1) as engine:
        usual = engine.generate("a boat", seed=1, native=True, **FAST).pictures[0]
        same = engine.generate("a boat", seed=1, size=128, **FAST).pictures[0]
        assert np.array_equal(usual.pixels, same.pixels)
        assert same.settings["size"] == [128, 128]
        assert "outside_training_size" not in same.settings
        wide = engine.generate("a boat", seed=1, size=(64, 256), **FAST).pictures[0]
        assert wide.pixels.shape == (64, 256, 3)
        assert wide.settings["outside_training_size"] is True
        assert engine.edit(PICTURE, "x", seed=1, size=(96, 160), **FAST).pictures[0].pixels.shape == (96, 160, 3)
        latents = np.zeros((1, 32, 2, 8), np.float32)
        assert engine.generate("x", latents=latents, size=(64, 256), **FAST).pictures
        for size, message in ((100, "use 96 or 128"), (32, "size=32"), (512, "size=512"), ((64,), "neither one side"),
                              ("64x64", "size='64x64'"), ((64, 64.0), "size=64.0")):  # fmt: skip
            with pytest.raises(InputError, match=message):
                engine.generate("x", size=size)


def test_sizes_agree_between_backends(checkpoint):
    pytest.importorskip("spar_engine._native")
    drawn = {}
    for backend in ("torch", "native", "onnxruntime"):
        options = {"precision": "fp32"} if backend == "native" else {}
        with spar_engine.load(checkpoint, backend=backend, threads=1, **options) as engine:
            found = engine.generate("a boat", seed=1, size=(96, 160), **FAST).pictures[0]
            drawn[backend] = found.pixels.astype(int)
    for backend in ("native", "onnxruntime"):
        assert np.abs(drawn[backend] - drawn["torch"]).max() <= 2


def test_larger_plans_for_published_models_are_of_the_expected_order():
    """Packed bf16 weights of spar-1b are 2 bytes a parameter and a little padding."""
    from spar_engine.config import preset
    from spar_engine.weights.schema import component_of, expected

    config, shapes = preset("spar-1b"), {}
    for name, shape in expected(config).items():
        shapes.setdefault(component_of(name), {})[name] = shape
    planned = native_memory.packed("dit", shapes["dit"], "bf16")
    plain = 2 * sum(int(np.prod(shape)) for shape in shapes["dit"].values())
    assert plain < planned < 1.1 * plain
    sizes = {"batch": 1, "height": 16, "width": 16}
    assert 150e6 < native_memory.scratch("decoder", sizes, config, "bf16", 2) < 800e6
