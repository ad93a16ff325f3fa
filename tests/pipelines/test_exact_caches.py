"""What pipelines share or skip changes nothing but rounding (E4, E9, E11, E22)."""

import numpy as np
import pytest
from spar_engine.backends.torch import TorchBackend
from spar_engine.pipelines.cache import KINDS, Store, bytes_of
from spar_engine.pipelines.call import Call, run, stream
from spar_engine.pipelines.condition import caption, caption_key
from spar_engine.pipelines.denoise import context, denoise
from spar_engine.pipelines.understand import Chooser, Decoding
from spar_engine.runtime.assemble import host_parts, open_tokenizer
from spar_engine.samplers import Sampler, noise
from spar_engine.text import Prompts, templates
from spar_engine.weights import Checkpoint


@pytest.fixture(scope="module")
def model(golden_dir):
    weights = Checkpoint.open(golden_dir("spar-tiny") / "checkpoint")
    return weights, TorchBackend(weights, precision="fp64"), Prompts(open_tokenizer(weights), weights.config)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_shared_prefix_is_exact(model):
    weights, backend, prompts = model
    ids = prompts.generation("a small red boat").ids
    shared = prompts.tokenizer.encode(templates.SHARED["generation"])
    assert np.array_equal(ids[: len(shared)], shared)
    plain = run(caption(host_parts(weights), ids), backend.run)
    parts = host_parts(weights)
    close(run(caption(parts, ids, shared=shared), backend.run), plain)
    again = prompts.generation("another prompt altogether").ids
    close(run(caption(parts, again, shared=shared), backend.run),
          run(caption(host_parts(weights), again), backend.run))  # fmt: skip
    assert parts.prefixes.hits == 1


def test_shared_prefix_is_exact_with_a_picture(model):
    weights, backend, prompts = model
    ids = prompts.edit("make it blue").ids
    features = np.random.default_rng(0).standard_normal((16, 96)).astype(np.float32)
    shared = prompts.tokenizer.encode(templates.SHARED["edit"])
    close(run(caption(host_parts(weights), ids, features, shared), backend.run),
          run(caption(host_parts(weights), ids, features), backend.run))  # fmt: skip


def test_a_prefix_that_does_not_match_is_not_used(model):
    weights, backend, prompts = model
    ids = prompts.unconditional().ids
    wrong = prompts.tokenizer.encode(templates.SHARED["generation"])
    close(run(caption(host_parts(weights), ids, shared=wrong), backend.run),
          run(caption(host_parts(weights), ids), backend.run))  # fmt: skip


def test_a_cached_caption_is_the_same_array(model):
    weights, backend, prompts = model
    parts, ids = host_parts(weights), prompts.unconditional().ids
    key = caption_key(ids, (), None)
    first = run(caption(parts, ids, key=key), backend.run)
    assert run(caption(parts, ids, key=key), lambda *_: pytest.fail("computed twice")) is first


def test_guidance_one_equals_the_conditional_branch_of_a_guided_run(model):
    weights, backend, prompts = model
    parts, start = host_parts(weights), noise(3, (32, 4, 4))
    positive, negative = (run(caption(parts, p.ids), backend.run)
                          for p in (prompts.generation("a boat"), prompts.unconditional()))  # fmt: skip

    def sampled(captions, scale):
        where = run(context(parts, captions), backend.run)
        return run(denoise(parts, where, start, Sampler.of(parts.config.sampler, 3), scale), backend.run)

    close(sampled([positive], 1.0), sampled([negative, positive], 1.0000001))


def test_a_store_is_bounded_by_bytes_and_keeps_what_was_used_last():
    value = np.zeros(100, np.uint8)
    each = bytes_of(value) + bytes_of("a")
    store = Store(2 * each)
    first, second = store.caches["captions"], store.caches["features"]
    first.put("a", value)
    second.put("a", value)
    assert first.get("a") is value
    first.put("b", value)  # the least recently used goes, whatever cache it is in
    assert second.get("a") is None
    assert first.get("a") is value
    assert (first.entries, second.entries, store.held) == (2, 0, 2 * each)
    first.put("huge", np.zeros(1000, np.uint8))
    assert first.get("huge") is None
    assert first.get("b") is value
    assert (first.hits, first.misses, first.held) == (3, 1, 2 * each)
    store.clear()
    assert (store.held, first.held, first.entries) == (0, 0, 0)


def test_a_store_of_no_bytes_keeps_nothing():
    store = Store(0)
    for kind in KINDS:
        store.caches[kind].put("a", np.zeros(0, np.uint8))
        assert store.caches[kind].get("a") is None


def test_stream_closes_the_pipeline_when_its_reader_stops():
    closed = []

    def work():
        try:
            while True:
                yield "event"
                yield Call("x", {})
        finally:
            closed.append(True)

    events = stream(work(), lambda name, inputs: {})
    assert [next(events), next(events)] == ["event", "event"]
    events.close()
    assert closed == [True]


def test_chooser_keeps_to_the_smallest_set_that_reaches_top_p():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    choose = Chooser(Decoding(max_new_tokens=1, temperature=1.0, top_p=0.7, seed=1))
    drawn = np.bincount([choose(logits) for _ in range(4000)], minlength=4) / 4000
    assert drawn[2:].sum() == 0
    assert abs(drawn[0] - 0.625) < 4 * (0.625 * 0.375 / 4000) ** 0.5
    assert Chooser(Decoding(max_new_tokens=1))(logits) == 0
