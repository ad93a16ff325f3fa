"""The C library against the Python package on the bundled model: equal bytes, equal tokens."""

import numpy as np
import pytest
import spar_engine
from spar_engine.samplers import noise

PRECISIONS = ("fp32", "bf16", "int8", "int4")
PROMPT = "two red circles on a white background"


@pytest.fixture(scope="module")
def engines(library, nano):
    """engines(precision): the same model in both; opened once."""
    opened = {}

    def get(precision):
        if precision not in opened:
            python = spar_engine.load(str(nano), backend="native", precision=precision, threads=1)
            opened[precision] = python, library.load(nano, precision)
        return opened[precision]

    yield get
    for python, c in opened.values():
        python.close()
        c.close()


@pytest.fixture(scope="module")
def picture(engines):
    return engines("fp32")[0].generate("a blue square", seed=5, num_inference_steps=6).pictures[0].pixels


@pytest.mark.parametrize("precision", PRECISIONS)
def test_generate(engines, precision):
    python, c = engines(precision)
    want = python.generate(PROMPT, seed=2**40 + 3, num_inference_steps=3, num_images=2)
    got = c.generate(PROMPT, seed=2**40 + 3, steps=3, images=2)
    assert np.array_equal(got, [picture.pixels for picture in want.pictures])
    assert len(np.unique(got)) > 20


@pytest.mark.parametrize("precision", PRECISIONS)
def test_edit(engines, picture, precision):
    python, c = engines(precision)
    want = python.edit(picture, "make the background gray", seed=1, num_inference_steps=2, negative_prompt="blur")
    got = c.edit(picture, "make the background gray", seed=1, steps=2, negative_prompt="blur")
    assert np.array_equal(got[0], want.pictures[0].pixels)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_ask(engines, picture, precision):
    python, c = engines(precision)
    want = python.ask(picture, "What is in the image?", max_new_tokens=24)
    text, tokens, prompt_tokens, finished = c.ask(picture, "What is in the image?", max_new_tokens=24)
    assert (text, tokens, prompt_tokens, finished) == (want.text, want.token_ids, want.prompt_tokens, want.finished)
    assert tokens


def test_options_of_drawing(engines):
    python, c = engines("fp32")
    cell = python.config.decoder.upscale
    side = python.config.dit.sample_size * cell
    start = np.ascontiguousarray(noise(9, (python.config.dit.in_channels, 4, 4)))
    cases = (
        ({"guidance_scale": 1.0}, {"guidance_scale": 1.0}),
        ({"negative_prompt": "dark"}, {"negative_prompt": "dark"}),
        ({"native": True}, {"full_size": 1}),
        ({"size": (side + cell, side - cell)}, {"height": side + cell, "width": side - cell}),
        ({"latents": start, "guidance_scale": -2.5}, {"latents": start, "guidance_scale": -2.5}),
    )
    for theirs, ours in cases:
        want = python.generate(PROMPT, seed=0, num_inference_steps=2, **theirs).pictures[0].pixels
        assert np.array_equal(c.generate(PROMPT, steps=2, **ours)[0], want), ours


def test_options_of_asking(engines, picture):
    python, c = engines("fp32")
    history = [("What colour is it?", "blue"), ("Are you sure?", "yes")]
    wide = np.ascontiguousarray(np.tile(picture, (1, 3, 1)))
    cases = (
        (None, "Who are you?", {}),
        (picture, "And now?", {"history": history}),
        (wide, "What is there?", {"max_tiles": 4}),
        (picture, "Look at <image> again.", {}),
        (picture, "Describe it.", {"temperature": 0.9, "top_p": 0.95, "seed": 11}),
    )
    for shown, question, options in cases:
        want = python.ask(shown, question, max_new_tokens=12, **options)
        text, tokens, *_ = c.ask(shown, question, max_new_tokens=12, **options)
        assert (text, tokens) == (want.text, want.token_ids), question


def test_reconstruct_and_segment(engines, picture):
    python, c = engines("fp32")
    tall = np.ascontiguousarray(np.tile(picture, (2, 1, 1))[:, ::2])
    for shown, side in ((picture, 0), (tall, 56)):
        want = python.reconstruct(shown, size=side or None).pictures[0].pixels
        assert np.array_equal(c.reconstruct(shown, side)[0], want)
    want = python.segment(picture, num_inference_steps=2).picture.pixels
    assert np.array_equal(c.segment(picture, steps=2)[0], want)


def test_rows_may_be_apart(engines, picture):
    _, c = engines("fp32")
    room = np.zeros((picture.shape[0], picture.shape[1] + 7, 3), np.uint8)
    room[:, : picture.shape[1]] = picture
    assert np.array_equal(c.reconstruct(room[:, : picture.shape[1]]), c.reconstruct(picture))


def test_thread_counts_give_the_same_bits(engines, library, nano):
    _, c = engines("bf16")
    other = library.load(nano, "bf16", threads=3)
    assert np.array_equal(other.generate(PROMPT, steps=2), c.generate(PROMPT, steps=2))
    assert other.describe().threads == 3
    other.close()
