"""What requests share is exact: the same bits with and without, bounded, counted, and worth having."""

import numpy as np
import pytest
import spar_engine
from spar_engine.errors import InputError

RNG = np.random.default_rng(0)
PICTURE, OTHER = ((RNG.random((97, 150, 3)) * 255).astype(np.uint8) for _ in range(2))
FAST = {"num_inference_steps": 2}
SAID = {"max_new_tokens": 5}


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def pair(golden_dir, request):
    """The same model with caches and without."""
    if request.param == "native":
        pytest.importorskip("spar_engine._native")
    checkpoint = golden_dir("spar-tiny") / "checkpoint"
    with (
        spar_engine.load(checkpoint, backend=request.param, threads=1) as kept,
        spar_engine.load(checkpoint, backend=request.param, threads=1, cache_bytes=0) as plain,
    ):
        yield kept, plain


def drawn(images):
    return [picture.pixels.tobytes() for picture in images.pictures]


def talk(engine, image):
    """A conversation about one picture; every answer becomes history."""
    history, said = [], []
    for question in ("What is it?", "And what else?", "Sure?"):
        said.append(engine.ask(image, question, history=history, **SAID))
        history.append((question, f"It is {len(history)}."))
    return said


REQUESTS = [
    lambda e: drawn(e.generate("a red boat", seed=1, **FAST)),
    lambda e: drawn(e.generate("a red boat", seed=2, **FAST)),
    lambda e: drawn(e.generate("a dog", seed=2, negative_prompt="a red boat", **FAST)),
    lambda e: drawn(e.generate("a red boat", seed=2, guidance_scale=1.0, **FAST)),
    lambda e: drawn(e.edit(PICTURE, "make it blue", seed=3, **FAST)),
    lambda e: drawn(e.edit(OTHER, "make it blue", seed=3, **FAST)),
    lambda e: drawn(e.edit(PICTURE, "make it red", seed=3, **FAST)),
    lambda e: e.segment(PICTURE, **FAST).picture.pixels.tobytes(),
    lambda e: drawn(e.reconstruct(PICTURE)),
    lambda e: [answer.token_ids for answer in talk(e, PICTURE)],
    lambda e: [answer.token_ids for answer in talk(e, OTHER)],
    lambda e: [answer.token_ids for answer in talk(e, None)],
    lambda e: e.ask(PICTURE, "What is it?", max_tiles=3, **SAID).token_ids,
]


def test_results_with_and_without_caches_are_the_same_bits(pair):
    kept, plain = pair
    want = [ask(plain) for ask in REQUESTS]
    assert all(cache["entries"] == cache["bytes"] == cache["hits"] == 0 for cache in plain.metrics()["caches"].values())
    assert [ask(kept) for ask in REQUESTS] == want
    assert [ask(kept) for ask in reversed(REQUESTS)] == want[::-1]  # now everything is there, most of it from others
    found = kept.metrics()["caches"]
    assert all(cache["hits"] for cache in found.values()), found
    assert sum(cache["bytes"] for cache in found.values()) <= 256 << 20
    assert want[4] != want[5]
    assert want[4] != want[6]


def runs(timings):
    return {name: entry["calls"] for name, entry in timings["components"].items()}


def test_what_was_computed_before_is_not_computed_again(pair):
    kept, _ = pair
    kept._parts.clear()
    first = runs(kept.edit(PICTURE, "x", seed=1, **FAST).timings)
    assert first == {"vision": 1, "language": 3, "condition": 2, "context": 1, "modulation": 1, "dit": 2, "decoder": 1}
    assert runs(kept.edit(PICTURE, "x", seed=2, **FAST).timings) == {"dit": 2, "decoder": 1}
    again = runs(kept.edit(PICTURE, "y", seed=2, **FAST).timings)
    assert again == {"language": 1, "condition": 1, "context": 1, "dit": 2, "decoder": 1}
    assert runs(kept.reconstruct(PICTURE).timings).keys() == {"vision", "streams", "decoder"}  # cropped, not squashed


def test_a_conversation_reads_only_what_is_new(pair):
    kept, _ = pair
    kept._parts.clear()
    answers = talk(kept, PICTURE)
    # system, picture, question; then the turn that became history, and the question
    assert [pieces(answer) for answer in answers] == [3, 2, 2]
    assert ["vision" in runs(answer.timings) for answer in answers] == [True, False, False]
    assert [pieces(answer) for answer in talk(kept, PICTURE)] == [1, 1, 1]


def pieces(answer):
    """Runs of the language model before the first token."""
    return runs(answer.timings)["language"] - len(answer.token_ids) - answer.finished + 1


def test_a_small_store_stays_small_and_exact(golden_dir):
    most = 40_000
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch", threads=1,
                          cache_bytes=most) as engine:  # fmt: skip
        first = drawn(engine.edit(PICTURE, "x", seed=1, **FAST))
        for number in range(6):
            engine.edit(OTHER, f"prompt {number}", seed=1, **FAST)
            held = sum(cache["bytes"] for cache in engine.metrics()["caches"].values())
            assert 0 < held <= most
        assert drawn(engine.edit(PICTURE, "x", seed=1, **FAST)) == first
    with pytest.raises(InputError, match="cache_bytes=-1"):
        spar_engine.load(golden_dir("spar-tiny") / "checkpoint", cache_bytes=-1)
