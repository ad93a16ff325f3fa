"""What a watcher is told and shown, what is logged, and the ranges for a profiler."""

import contextlib
import io
import json
import logging
import sys
import types

import numpy as np
import pytest
import spar_engine
from spar_engine.errors import Cancelled, InputError, MissingDependency
from spar_engine.pipelines.preview import fit, paint
from spar_engine.runtime.logs import set_up

FAST = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def engine(golden_dir):
    with spar_engine.load(golden_dir("spar-tiny") / "checkpoint", backend="torch", threads=1) as loaded:
        yield loaded


def test_a_step_tells_its_time_and_what_the_model_expects(engine):
    seen = []
    result = engine.generate("a boat", seed=1, num_inference_steps=3, num_images=2, on_step=seen.append)
    assert [(step.image, step.index, step.total) for step in seen] == [(i, s, 3) for i in range(2) for s in range(3)]
    assert all(0 < step.seconds < step.elapsed <= result.timings["total"] for step in seen)
    assert [step.elapsed for step in seen] == sorted(step.elapsed for step in seen)
    assert not np.array_equal(seen[0].expected, seen[0].latent)
    assert np.array_equal(seen[2].expected, seen[2].latent)  # nothing is left to do after the last step


def test_previews_show_the_colours_that_the_decoder_will_give(engine):
    seen = []
    plain = engine.generate("a boat", seed=1, **FAST)
    watched = engine.generate("a boat", seed=1, on_step=lambda step: seen.append(step.preview()), **FAST)
    assert np.array_equal(plain.pictures[0].pixels, watched.pictures[0].pixels)
    assert [picture.pixels.shape for picture in seen] == [(32, 32, 3)] * 2
    assert seen[0].settings["task"] == "preview"
    assert not np.array_equal(seen[0].pixels, seen[1].pixels)
    weights = engine._preview_map
    engine.generate("a dog", seed=2, on_step=lambda step: step.preview(), **FAST)
    assert engine._preview_map is weights  # fitted once


def test_the_map_tells_more_than_the_mean_colour_of_pictures_it_was_not_fitted_to(engine):
    """Even with a decoder of random weights, which is far from linear."""
    from spar_engine.image.preprocess import reconstruct_pixels
    from spar_engine.pipelines.call import run
    from spar_engine.pipelines.denoise import decode
    from spar_engine.pipelines.vision import tokenize

    engine.warmup([], preview=True)
    weights, rng = engine._preview_map, np.random.default_rng(3)
    side = engine.config.vision.image_size
    latents, seen = [], []
    for _ in range(12):
        picture = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((side // 4, side // 4, 1))).astype(np.uint8)
        latent = run(tokenize(engine._parts, reconstruct_pixels(picture, side)), engine.backend.run)
        decoded = np.clip(run(decode(engine._parts, latent), engine.backend.run), -1, 1)
        latents.append(latent[0].reshape(32, -1).T)
        seen.append(decoded.reshape(3, 4, 32, 4, 32).mean((2, 4)).reshape(3, -1).T)
    latents, seen = np.concatenate(latents), np.concatenate(seen)
    off = np.mean((latents @ weights[:-1] + weights[-1] - seen) ** 2)
    assert off < 0.9 * np.mean((seen - seen.mean(0)) ** 2)


def test_a_linear_decoder_is_found_exactly():
    rng = np.random.default_rng(0)
    truth, latents = rng.normal(size=(33, 3)) / 8, rng.normal(size=(5000, 32))
    found = fit(latents, latents @ truth[:-1] + truth[-1])
    np.testing.assert_allclose(found, truth, atol=1e-3)
    plain = np.zeros((33, 3), np.float32)
    plain[0, 1], plain[-1] = 1, (-1, 0, 1)
    latent = np.zeros((1, 32, 2, 3), np.float32)
    latent[0, 0] = 1
    assert (paint(latent, plain, 4) == (0, 255, 255)).all()
    assert paint(latent, plain, 4).shape == (8, 12, 3)


def test_an_error_in_a_watcher_ends_its_request_only(engine):
    def fail(step):
        raise RuntimeError("the watcher failed")

    with pytest.raises(RuntimeError, match="the watcher failed"):
        engine.generate("x", seed=1, on_step=fail, **FAST)
    assert engine.metrics()["running"] == 0
    assert engine.generate("x", seed=1, **FAST).pictures


@pytest.fixture
def logged():
    """Logging as a server sets it up, into memory; as before afterwards."""
    root, to = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    yield lambda form, level: set_up(form, level, to) or to
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_request_is_one_line_of_json_without_its_prompt(engine, logged):
    to = logged("json", "info")
    engine.generate("secret words", seed=1, priority=2, **FAST)
    with contextlib.suppress(Cancelled):
        engine.generate("secret words", seed=1, cancel=lambda: True, **FAST)
    done, cancelled = map(json.loads, to.getvalue().splitlines())
    assert done["event"] == "request"
    assert (done["task"], done["outcome"], done["priority"], done["level"]) == ("generate", "completed", 2, "info")
    assert done["components"]["dit"]["calls"] == 2
    assert done["seconds"] > done["waited"] >= 0
    assert cancelled["outcome"] == "cancelled"
    assert "secret" not in to.getvalue()


def test_levels_exceptions_and_plain_text(engine, logged):
    to = logged("json", "debug")
    engine.reconstruct(np.zeros((50, 50, 3), np.uint8))
    lines = [json.loads(line) for line in to.getvalue().splitlines()]
    assert [line["component"] for line in lines if line.get("event") == "component"] == ["vision", "streams", "decoder"]
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("other").exception("it\nfailed", extra={"thing": object})
    last = json.loads(to.getvalue().splitlines()[-1])
    assert last["message"] == "it\nfailed"
    assert "ValueError" in last["exception"]
    to = logged("text", "warning")
    before = to.getvalue()
    engine.reconstruct(np.zeros((50, 50, 3), np.uint8))
    logging.getLogger("other").warning("careful")
    assert to.getvalue()[len(before) :].endswith("WARNING other: careful\n")
    with pytest.raises(InputError, match="yaml"):
        set_up("yaml")


def test_ranges_bear_the_names_of_the_trace(golden_dir, monkeypatch):
    names = []

    @contextlib.contextmanager
    def annotate(name, domain):
        names.append((name, domain))
        yield

    monkeypatch.setitem(sys.modules, "nvtx", types.SimpleNamespace(annotate=annotate))
    checkpoint = golden_dir("spar-tiny") / "checkpoint"
    with spar_engine.load(checkpoint, backend="torch", threads=1, nvtx=True) as engine:
        engine.generate("x", seed=1, guidance_scale=1.0, num_inference_steps=1)
    assert ("dit[1x32x4x4]", "spar") in names
    runs = ["language", "language", "condition", "context", "modulation", "dit", "decoder"]
    assert [name.split("[")[0] for name, _ in names] == runs
    monkeypatch.setitem(sys.modules, "nvtx", None)
    with pytest.raises(MissingDependency, match="pip install nvtx"):
        spar_engine.load(checkpoint, backend="torch", threads=1, nvtx=True)
