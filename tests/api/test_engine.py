"""The public API on a small checkpoint, with the torch backend."""

import json
import shutil
import threading

import numpy as np
import pytest
import spar_engine
from spar_engine.errors import BackendError, Cancelled, CheckpointError, ConfigError, InputError

PICTURE = (np.random.default_rng(0).random((97, 150, 3)) * 255).astype(np.uint8)
FAST = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def engine(golden_dir):
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch") as loaded:
        yield loaded


def pixels(result):
    return [picture.pixels for picture in result.pictures]


def test_a_seed_gives_the_same_picture_whatever_the_batch(engine):
    one = engine.generate("a red boat", seed=7, **FAST)
    three = engine.generate("a red boat", seed=7, num_images=3, **FAST)
    assert np.array_equal(pixels(one)[0], pixels(three)[0])
    assert not np.array_equal(pixels(three)[0], pixels(three)[1])
    assert pixels(one)[0].shape == (112, 112, 3)
    assert engine.generate("a red boat", seed=7, native=True, **FAST).image.size == (128, 128)


def test_a_batch_of_prompts_equals_each_alone(engine):
    both = engine.generate(["a dog", "a cat"], negative_prompt=["blur", "noise"], seed=3, **FAST)
    alone = [engine.generate(text, negative_prompt=negative, seed=3, **FAST)
             for text, negative in (("a dog", "blur"), ("a cat", "noise"))]  # fmt: skip
    assert all(np.array_equal(a, pixels(b)[0]) for a, b in zip(pixels(both), alone, strict=True))
    plain = engine.generate("a dog", seed=3, **FAST)
    assert not np.array_equal(pixels(plain)[0], pixels(both)[0])


def test_latents_replace_the_seed(engine):
    from spar_engine.samplers import noise

    start = noise(5, (32, 4, 4))
    assert np.array_equal(pixels(engine.generate("x", latents=start, **FAST))[0],
                          pixels(engine.generate("x", seed=5, **FAST))[0])  # fmt: skip


def test_steps_are_reported_in_order_with_timings(engine):
    seen = []
    result = engine.generate("x", seed=1, num_inference_steps=3, num_images=2, on_step=seen.append)
    assert [(step.image, step.index, step.total) for step in seen] == [(i, s, 3) for i in range(2) for s in range(3)]
    assert result.timings["components"]["dit"]["calls"] == 6
    assert result.timings["total"] > 0


def test_guidance_one_runs_a_single_branch(engine):
    engine._parts.clear()
    result = engine.generate("a dog", seed=1, guidance_scale=1.0, **FAST)
    assert result.timings["components"]["condition"]["calls"] == 1
    with pytest.raises(InputError, match="negative_prompt has no effect"):
        engine.generate("a dog", negative_prompt="x", guidance_scale=1.0)


def test_the_checkpoint_may_name_its_guidance(golden_dir, tmp_path):
    folder = shutil.copytree(golden_dir("spar-tiny") / "checkpoint", tmp_path / "model")
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"guidance_scale": 2.5}))
    with spar_engine.load(folder, backend="torch") as engine:
        own = engine.generate("a dog", seed=1, **FAST)
        same = engine.generate("a dog", seed=1, guidance_scale=2.5, **FAST)
        usual = engine.generate("a dog", seed=1, guidance_scale=4.5, **FAST)
    assert own.pictures[0].settings["guidance_scale"] == 2.5
    assert np.array_equal(pixels(own)[0], pixels(same)[0])
    assert not np.array_equal(pixels(own)[0], pixels(usual)[0])


def test_edit_segment_reconstruct(engine):
    edited = engine.edit(PICTURE, "make it blue", seed=1, **FAST)
    assert edited.image.size == (112, 112)
    assert edited.pictures[0].settings["instruction"] == "make it blue"
    found = engine.segment(PICTURE, **FAST)
    assert sum(region.area for region in found.regions) <= 97 * 150
    assert found.regions == sorted(found.regions, key=lambda region: -region.area)
    assert engine.reconstruct(PICTURE).image.size == (112, 112)
    assert engine.reconstruct(PICTURE, size=100, padded=True).image.size == (100, 100)


def test_ask_streams_what_it_answers(engine):
    answer = engine.ask(PICTURE, "What is it?", max_new_tokens=8)
    assert len(answer.token_ids) <= 8
    assert "".join(engine.ask(PICTURE, "What is it?", max_new_tokens=8, stream=True)) == answer.text
    drawn = engine.ask(PICTURE, "What is it?", max_new_tokens=8, temperature=1.0, top_p=0.9, seed=4)
    again = engine.ask(PICTURE, "What is it?", max_new_tokens=8, temperature=1.0, top_p=0.9, seed=4)
    assert drawn.token_ids == again.token_ids
    assert engine.ask(PICTURE, "What is it?", max_new_tokens=2, max_tiles=6).prompt_tokens > answer.prompt_tokens
    assert engine.ask(None, "Hello", max_new_tokens=2).prompt_tokens < answer.prompt_tokens
    assert engine.ask(PICTURE, "And now?", history=[("What is it?", "A boat.")], max_new_tokens=2).token_ids


def test_cancel_stops_and_leaves_the_engine_sound(engine):
    stop = threading.Event()
    with pytest.raises(Cancelled):
        engine.generate("x", seed=1, num_inference_steps=9, on_step=lambda step: step.index == 3 and stop.set(),
                        cancel=stop)  # fmt: skip
    with pytest.raises(Cancelled):
        engine.ask(PICTURE, "What?", cancel=lambda: True)
    assert engine.generate("x", seed=1, **FAST).pictures
    with pytest.raises(InputError, match="cancel="):
        engine.generate("x", cancel=3)


def test_threads_share_one_engine_exactly(engine):
    alone = [pixels(engine.generate(f"prompt {n}", seed=n, **FAST))[0] for n in range(4)]
    engine._parts.clear()
    found = {}

    def work(n):
        found[n] = pixels(engine.generate(f"prompt {n}", seed=n, **FAST))[0]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone[n], found[n]) for n in range(4))


@pytest.mark.parametrize(("call", "message"), [
    (lambda e: e.generate(""), "prompt is empty"),
    (lambda e: e.generate("  "), "prompt is blank"),
    (lambda e: e.generate([]), "empty list"),
    (lambda e: e.generate(3), "prompt"),
    (lambda e: e.generate("x " * 5000), "too long"),
    (lambda e: e.generate("a <IMG_CONTEXT> b"), "special token"),
    (lambda e: e.generate("x", num_inference_steps=0), "num_inference_steps=0"),
    (lambda e: e.generate("x", num_inference_steps=-3), "num_inference_steps=-3"),
    (lambda e: e.generate("x", guidance_scale=float("nan")), "guidance_scale=nan"),
    (lambda e: e.generate("x", guidance_scale=float("inf")), "guidance_scale=inf"),
    (lambda e: e.generate("x", seed=-1), "seed=-1"),
    (lambda e: e.generate("x", num_images=0), "num_images=0"),
    (lambda e: e.generate("x", latents=np.zeros((1, 32, 5, 4), np.float32)), "latents have shape"),
    (lambda e: e.generate("x", latents=np.full((1, 32, 4, 4), np.nan, np.float32)), "not finite"),
    (lambda e: e.generate(["a", "b"], negative_prompt=["c"]), "1 entries for 2 prompts"),
    (lambda e: e.edit(np.zeros((1, 1, 3), np.uint8), "x"), "1x1 pixels"),
    (lambda e: e.edit(np.zeros((0, 4, 3), np.uint8), "x"), "pixels"),
    (lambda e: e.edit("/nowhere.png", "x"), "nowhere.png"),
    (lambda e: e.ask(PICTURE, "x", max_new_tokens=0), "max_new_tokens=0"),
    (lambda e: e.ask(PICTURE, "x", temperature=-1), "temperature=-1"),
    (lambda e: e.ask(PICTURE, "x", top_p=0.5), "top_p=0.5 has no effect"),
    (lambda e: e.ask(PICTURE, "x", temperature=1.0, top_p=0), "top_p=0"),
    (lambda e: e.ask(PICTURE, "x", max_tiles=13), "max_tiles=13"),
    (lambda e: e.reconstruct(PICTURE, size=100), "use 84, 112 or padded=True"),
])  # fmt: skip
def test_bad_requests_are_refused_before_any_work(engine, call, message, monkeypatch):
    monkeypatch.setattr(engine._scheduler, "_run", lambda *_, **__: pytest.fail("a component ran"))
    with pytest.raises(InputError) as caught:
        call(engine)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("arguments", "kind", "message"), [
    ({"source": "spar-9b", "random_weights": True}, ConfigError, "spar-1b"),
    ({"source": "spar-1b"}, CheckpointError, "random_weights=True"),
    ({"source": "/nowhere"}, CheckpointError, "no such checkpoint"),
    ({"source": "spar-1b", "random_weights": True, "backend": "abacus"}, BackendError, "abacus"),
    ({"source": "spar-1b", "random_weights": True, "backend": "torch", "precision": "fp3"}, BackendError, "fp3"),
    ({"source": "spar-1b", "random_weights": True, "backend": "torch", "colour": 1}, ConfigError, "colour"),
    ({"source": "spar-1b", "random_weights": True, "threads": 0}, InputError, "threads=0"),
    ({"source": "spar-1b", "random_weights": True, "dit_position": "rope"}, ConfigError, "rope"),
])  # fmt: skip
def test_bad_loads_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=message) as caught:
        spar_engine.load(**{"backend": "torch"} | arguments)
    assert "\n" not in str(caught.value)
