"""The OpenAI-compatible routes, with OpenAI's own client."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from .conftest import KEY

openai = pytest.importorskip("openai")
FAST = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def engine(server):
    return server[1]


def decoded(entry):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(entry.b64_json))))


def url(png):
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def about(png, text):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url(png)}},
                                         {"type": "text", "text": text}]}]  # fmt: skip


def test_generations_are_the_engines_pictures(client, engine):
    model = client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    found = client.images.generate(model=model, prompt="a red boat", n=2, extra_body={"seed": 7, **FAST})
    wanted = engine.generate("a red boat", seed=7, num_images=2, **FAST).pictures
    assert len(found.data) == 2
    assert all(np.array_equal(decoded(a), b.pixels) for a, b in zip(found.data, wanted, strict=True))
    assert decoded(client.images.generate(prompt="x", size="128x128", extra_body=FAST).data[0]).shape == (128, 128, 3)


def test_edits_are_the_engines_pictures(client, engine, png, pixels):
    found = client.images.edit(image=("a.png", png), prompt="make it blue", extra_body={"seed": 3, **FAST})
    wanted = engine.edit(pixels, "make it blue", seed=3, **FAST).pictures[0].pixels
    assert np.array_equal(decoded(found.data[0]), wanted)


def test_chat_answers_whole_and_streamed(client, engine, png, pixels):
    messages = about(png, "What is it?")
    answer = client.chat.completions.create(model="spar-tiny" and client.models.list().data[0].id, messages=messages,
                                            max_tokens=8)  # fmt: skip
    wanted = engine.ask(pixels, "What is it?", max_new_tokens=8)
    assert answer.choices[0].message.content == wanted.text
    assert answer.choices[0].finish_reason == ("stop" if wanted.finished else "length")
    assert answer.usage.completion_tokens == len(wanted.token_ids)
    assert answer.usage.prompt_tokens == wanted.prompt_tokens
    chunks = list(client.chat.completions.create(model=answer.model, messages=messages, max_tokens=8, stream=True,
                                                 stream_options={"include_usage": True}))  # fmt: skip
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == wanted.text
    assert chunks[-1].usage.total_tokens == answer.usage.total_tokens
    more = [*messages, {"role": "assistant", "content": "A boat."}, {"role": "user", "content": "And now?"}]
    again = client.chat.completions.create(model=answer.model, messages=more, max_tokens=4)
    wanted = engine.ask(pixels, "And now?", history=[("What is it?", "A boat.")], max_new_tokens=4)
    assert again.choices[0].message.content == wanted.text


def test_a_later_picture_stays_in_its_message(client, engine, png, pixels):
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}, *about(png, "And this?")]
    found = client.chat.completions.create(model=client.models.list().data[0].id, messages=messages, max_tokens=4)
    wanted = engine.ask(pixels, "<image>\nAnd this?", history=[("Hello", "Hi.")], max_new_tokens=4)
    assert found.choices[0].message.content == wanted.text


@pytest.mark.parametrize(("call", "message"), [
    (lambda c, p: c.images.generate(prompt=""), "prompt is empty"),
    (lambda c, p: c.images.generate(prompt="x", n=3), "n=3 is over this server's limit of 2"),
    (lambda c, p: c.images.generate(prompt="x", n=0), "num_images=0"),
    (lambda c, p: c.images.generate(prompt="x", size="1024x1024"), "size=1024 is not a whole number from 64 to 256"),
    (lambda c, p: c.images.generate(prompt="x", response_format="url"), "response_format"),
    (lambda c, p: c.images.generate(prompt="x", quality="hd"), "quality"),
    (lambda c, p: c.images.generate(prompt="x", extra_body={"num_inference_steps": 1001}), "num_inference_steps=1001"),
    (lambda c, p: c.images.edit(image=("a.png", b"no picture"), prompt="x"), "picture"),
    (lambda c, p: c.images.edit(image=("a.png", p), prompt="x", n=9), "n=9"),
    (lambda c, p: ask(c, about(p, "x"), max_tokens=17), "max_tokens=17 is over"),
    (lambda c, p: ask(c, about(p, "x"), frequency_penalty=1.0), "frequency_penalty"),
    (lambda c, p: ask(c, [{"role": "system", "content": "x"}]), "role"),
    (lambda c, p: ask(c, [{"role": "assistant", "content": "x"}]), "must go user, assistant"),
    (lambda c, p: ask(c, about(p, "x") + about(p, "y")), "must go user"),
    (lambda c, p: ask(c, linked("http://127.0.0.1/x.png")), "fetches nothing"),
    (lambda c, p: ask(c, linked("file:///etc/passwd")), "fetches nothing"),
    (lambda c, p: ask(c, linked("data:image/png;base64,!!!!")), "not base64"),
])  # fmt: skip
def test_bad_requests_say_what_is_wrong(client, engine, png, call, message):
    before = engine.metrics()["components"]
    with pytest.raises(openai.BadRequestError) as caught:
        call(client, png)
    assert message in caught.value.body["message"]
    assert engine.metrics()["components"] == before


def ask(client, messages, **options):
    return client.chat.completions.create(**{"model": client.models.list().data[0].id, "messages": messages} | options)


def linked(address):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": address}}]}]


def test_another_model_and_a_wrong_key(client, server):
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.images.generate(model="dall-e-3", prompt="x")
    with (
        openai.OpenAI(base_url=f"{server[0]}/v1", api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.models.list()


def test_pictures_are_streamed_with_previews(client, engine):
    options = {"seed": 7, "num_inference_steps": 4}
    events = list(client.images.generate(prompt="a red boat", stream=True, partial_images=2, extra_body=options))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [(event.partial_image_index, event.step, event.steps) for event in events[:2]] == [(0, 2, 4), (1, 4, 4)]
    assert [decoded(event).shape for event in events] == [(32, 32, 3)] * 2 + [(112, 112, 3)]
    wanted = engine.generate("a red boat", **options).pictures[0].pixels
    assert np.array_equal(decoded(events[-1]), wanted)
    assert events[-1].seed == 7


def test_edits_and_segmentations_are_streamed_too(client, engine, png, pixels):
    given = {"prompt": "make it blue", "image": ("a.png", png), "extra_body": {"seed": 3, **FAST}}
    events = list(client.images.edit(stream=True, partial_images=1, **given))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    wanted = engine.edit(pixels, "make it blue", seed=3, **FAST).pictures[0].pixels
    assert np.array_equal(decoded(events[-1]), wanted)


def test_what_cannot_be_streamed_is_refused(client):
    for given, message in (
        ({"n": 2, "stream": True}, "n=2 pictures cannot be streamed"),
        ({"partial_images": 1}, "partial_images has no effect without stream"),
        ({"stream": True, "partial_images": 5000}, "partial_images=5000"),
        ({"prompt": "<IMG_CONTEXT>", "stream": True}, "special token"),
        ({"size": "100x128", "stream": True}, "use 96 or 128"),
        ({"size": "wide"}, "WIDTHxHEIGHT in multiples of 32"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            client.images.generate(**({"prompt": "x", "extra_body": FAST} | given))
    wide = client.images.generate(prompt="x", size="160x96", extra_body=FAST)
    assert decoded(wide.data[0]).shape == (96, 160, 3)
