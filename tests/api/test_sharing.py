"""One engine, many requests: exact whatever else runs, asyncio, counters, traces, warm-up."""

import asyncio
import gc
import itertools
import json
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spar_engine
from spar_engine.errors import BackendError, Busy, Cancelled, DeadlineExceeded, InputError
from spar_engine.runtime.line import Request
from spar_engine.runtime.metrics import prometheus
from spar_engine.runtime.trace import Trace

PICTURE = (np.random.default_rng(0).random((97, 150, 3)) * 255).astype(np.uint8)
FAST = {"num_inference_steps": 2}


@pytest.fixture(scope="module", params=["native", "native, two lanes", "torch"])
def engine(golden_dir, request):
    backend, lanes = request.param.split(",")[0], 1 + ("lanes" in request.param)
    if backend == "native":
        pytest.importorskip("spar_engine._native")
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend=backend, threads=lanes) as loaded:
        assert loaded._scheduler._lanes == lanes
        yield loaded


def mixed(engine):
    """Requests of all tasks, each giving something comparable."""
    return [
        lambda: engine.generate("a red boat", seed=1, **FAST).pictures[0].pixels.tobytes(),
        lambda: engine.generate("a dog", seed=2, guidance_scale=1.0, **FAST).pictures[0].pixels.tobytes(),
        lambda: engine.edit(PICTURE, "make it blue", seed=3, **FAST).pictures[0].pixels.tobytes(),
        lambda: engine.segment(PICTURE, **FAST).picture.pixels.tobytes(),
        lambda: engine.reconstruct(PICTURE).pictures[0].pixels.tobytes(),
        lambda: engine.ask(PICTURE, "What is it?", max_new_tokens=6).token_ids,
        lambda: "".join(engine.ask(None, "Hello", max_new_tokens=6, stream=True)),
    ]


def test_mixed_requests_at_once_equal_each_alone(engine):
    work = mixed(engine)
    alone = []
    for one in work:
        engine._parts.clear()
        alone.append(one())
    engine._parts.clear()
    order = np.random.default_rng(1).permutation(2 * len(work)) % len(work)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda index: work[index](), order))
    assert all(result == alone[index] for index, result in zip(order, found, strict=True))


def test_a_trace_has_a_track_for_each_run_at_a_time(tmp_path):
    trace = Trace(tmp_path / "trace.json", "m")
    request, inputs = Request(3, "t", None), {"latent": np.zeros((1, 2))}
    for begin, end in ((0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 5.0), (3.0, 6.0)):
        trace.ran([request], "dit", inputs, begin, end)
    trace.write()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["tid"] for event in events if event["ph"] == "X"] == [0, 1, 0, 2, 1]


def test_steps_of_several_requests_are_one_run_where_that_is_exact(golden_dir):
    pytest.importorskip("spar_engine._native")

    def draw(number):
        scale, text = (4.5, 1.0)[number % 2], "a boat " * (1 + number)
        return engine.generate(text, seed=number, num_inference_steps=8, guidance_scale=scale).pictures[0].pixels

    for precision in ("fp32", "bf16", "int8"):
        with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="native", precision=precision,
                              threads=1) as engine:  # fmt: skip
            alone = [draw(number) for number in range(5)]
            before = engine.metrics()["components"]["dit"]
            assert before["runs"] == before["calls"] == 40
            with ThreadPoolExecutor(5) as pool:
                found = list(pool.map(draw, range(5)))
            after = engine.metrics()["components"]["dit"]
        assert all(np.array_equal(a, b) for a, b in zip(alone, found, strict=True))
        assert after["calls"] == 80
        assert after["runs"] < 70


def test_asyncio_gives_what_the_plain_methods_give(engine):
    async def work():
        pieces = engine.aask(PICTURE, "What is it?", max_new_tokens=6, stream=True)
        drawn, text, answer = await asyncio.gather(
            engine.agenerate("a red boat", seed=1, **FAST), _joined(pieces),
            engine.aask(PICTURE, "What is it?", max_new_tokens=6),
        )  # fmt: skip
        assert pieces.answer.token_ids == answer.token_ids
        return drawn, text, answer, await engine.areconstruct(PICTURE), await engine.asegment(PICTURE, **FAST)

    drawn, text, answer, again, found = asyncio.run(work())
    assert np.array_equal(drawn.pictures[0].pixels, engine.generate("a red boat", seed=1, **FAST).pictures[0].pixels)
    assert text == answer.text == engine.ask(PICTURE, "What is it?", max_new_tokens=6).text
    assert np.array_equal(again.pictures[0].pixels, engine.reconstruct(PICTURE).pictures[0].pixels)
    assert np.array_equal(found.picture.pixels, engine.segment(PICTURE, **FAST).picture.pixels)


async def _joined(pieces):
    return "".join([piece async for piece in pieces])


def ended(engine, task, outcome):
    return engine.metrics()["requests"].get(task, {}).get(outcome, 0)


def test_cancelling_a_task_cancels_its_request(engine):
    before = ended(engine, "edit", "cancelled"), ended(engine, "ask", "cancelled")

    async def work():
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(engine.aedit(
            PICTURE, "x", num_inference_steps=1000, on_step=lambda step: loop.call_soon_threadsafe(started.set)
        ))  # fmt: skip
        await asyncio.wait_for(started.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pieces = engine.aask(None, "Hello", max_new_tokens=300, temperature=1.0, stream=True)
        await anext(pieces)
        await pieces.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)
        for _ in range(500):
            if (ended(engine, "edit", "cancelled"), ended(engine, "ask", "cancelled")) != before:
                break
            await asyncio.sleep(0.02)

    asyncio.run(work())
    for _ in range(500):
        if engine.metrics()["running"] == 0:
            break
        threading.Event().wait(0.02)
    assert engine.metrics()["running"] == 0
    assert (ended(engine, "edit", "cancelled"), ended(engine, "ask", "cancelled")) == (before[0] + 1, before[1] + 1)


def test_a_deadline_ends_a_request_and_errors_pass_through(engine):
    with pytest.raises(DeadlineExceeded, match=r"deadline=0\.05"):
        engine.generate("x", seed=1, num_inference_steps=1000, deadline=0.05)
    with pytest.raises(InputError, match="prompt is empty"):
        asyncio.run(engine.agenerate(""))
    with pytest.raises(Cancelled):
        asyncio.run(engine.agenerate("x", cancel=lambda: True))
    assert engine.generate("x", seed=1, deadline=600, priority=3, **FAST).pictures


def test_too_many_are_refused_at_once(golden_dir):
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch", threads=1, max_running=1,
                          max_waiting=0) as engine:  # fmt: skip
        pieces = engine.ask(None, "Hello", stream=True)
        next(pieces)
        with pytest.raises(Busy):
            engine.reconstruct(PICTURE)
        pieces.close()
        assert engine.reconstruct(PICTURE).pictures

        async def two():
            first = asyncio.create_task(engine.agenerate("x", num_inference_steps=1000))
            await asyncio.sleep(0.05)
            with pytest.raises(Busy):
                await engine.agenerate("y")
            first.cancel()

        asyncio.run(two())
        engine.close()
        with pytest.raises(BackendError, match="closed"):
            engine.generate("x", **FAST)


def test_an_engine_that_is_let_go_ends_its_thread(golden_dir):
    engine = spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch", threads=1)
    engine.ask(None, "Hello", max_new_tokens=1)
    thread, seen = engine._scheduler._threads[0], weakref.ref(engine.backend)
    assert thread.is_alive()
    del engine
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
    assert seen() is None


def test_metrics_count_requests_components_and_caches(engine):
    engine.generate("a dog", seed=1, **FAST)
    engine._parts.clear()
    before = engine.metrics()
    engine.generate("a cat", seed=1, **FAST)
    engine.generate("a cat", seed=2, **FAST)
    after = engine.metrics()
    assert after["requests"]["generate"]["completed"] == before["requests"]["generate"]["completed"] + 2
    assert after["components"]["dit"]["runs"] == before["components"]["dit"]["runs"] + 4
    assert after["caches"]["contexts"]["hits"] == before["caches"]["contexts"]["hits"] + 1
    assert after["caches"]["contexts"]["entries"] == 1
    assert after["caches"]["contexts"]["bytes"] > 0
    text = prometheus(after)
    total = after["requests"]["generate"]["completed"]
    assert f'spar_requests_total{{task="generate",outcome="completed"}} {total}\n' in text
    assert 'spar_request_seconds_bucket{task="generate",le="+Inf"}' in text
    assert "spar_requests_running 0\n" in text
    assert 'spar_cache_bytes{cache="contexts"} ' in text


def test_a_trace_holds_every_run_and_request(engine, tmp_path):
    with engine.trace(tmp_path / "trace.json"):
        result = engine.generate("traced", seed=1, **FAST)
    engine.reconstruct(PICTURE)
    events = [event for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"] if event["ph"] == "X"]
    runs = [event for event in events if event["cat"] == "component"]
    assert len(runs) == sum(entry["calls"] for entry in result.timings["components"].values())
    assert [event["name"] for event in runs if event["name"].startswith("dit")] == ["dit[1x32x4x4]"] * 2
    assert [event["name"] for event in events if event["cat"] == "request"] == ["generate"]
    assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in itertools.pairwise(runs))
    assert list(tmp_path.iterdir()) == [tmp_path / "trace.json"]
    with pytest.raises(InputError, match="cannot be written"), engine.trace(tmp_path / "no" / "trace.json"):
        pytest.fail("the block ran")


def test_warmup_loads_what_the_tasks_run(golden_dir):
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch", threads=1) as engine:
        assert list(engine.warmup(["reconstruct"])) == ["reconstruct"]
        assert set(engine.metrics()["components"]) == {"vision", "streams", "decoder"}
        engine.warmup()
        loaded = set(engine.backend._modules)
        engine.generate("x", **FAST)
        assert set(engine.backend._modules) == loaded
        with pytest.raises(InputError, match="tasks="):
            engine.warmup("generate")
