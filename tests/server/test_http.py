"""Limits, access, disconnects, status and the end of a server, over plain HTTP."""

import base64
import io
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from spar_engine.errors import ConfigError, InputError

from .conftest import KEY

httpx = pytest.importorskip("httpx")
settings = pytest.importorskip("spar_engine.server.settings")
AUTH = {"Authorization": f"Bearer {KEY}"}
LONG = {"prompt": "x", "num_inference_steps": 1000}


def until(condition, patience=30):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server[0], headers=AUTH, timeout=60) as made:
        yield made


def test_segment_and_reconstruct_are_the_engines(client, server, png, pixels):
    found = client.post("/v1/segment", files={"image": png}, data={"num_inference_steps": 2}).json()
    wanted = server[1].segment(pixels, num_inference_steps=2)
    assert [region["area"] for region in found["regions"]] == [region.area for region in wanted.regions]
    found = client.post("/v1/reconstruct", files={"image": png}, data={"size": 100, "padded": "true"}).json()
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["data"][0]["b64_json"]))))
    assert np.array_equal(picture, server[1].reconstruct(pixels, size=100, padded=True).pictures[0].pixels)


def test_status_and_metrics(client, server):
    plain = httpx.get(f"{server[0]}/health")
    assert plain.json() == {"status": "ok"}
    assert httpx.get(f"{server[0]}/ready").status_code == 200
    assert httpx.get(f"{server[0]}/metrics").status_code == 401
    server[1].reconstruct(np.zeros((40, 40, 3), np.uint8))
    text = client.get("/metrics").text
    assert 'spar_requests_total{task="reconstruct",outcome="completed"}' in text
    assert "# TYPE spar_request_seconds histogram" in text


@pytest.mark.parametrize(("path", "how", "status", "message"), [
    ("/v1/nothing", {}, 404, "Not Found"),
    ("/v1/images/generations", {"json": {"prompt": "x", "n": "many"}}, 400, "n: "),
    ("/v1/images/generations", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
    ("/v1/images/generations", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 400, "request"),
    ("/v1/images/generations", {"content": b"x" * (2 << 20)}, 413, "1048576 bytes"),
    ("/v1/images/generations", {"content": iter([b"x" * 65536] * 32)}, 413, "1048576 bytes"),
    ("/v1/images/generations", {"json": LONG, "headers": {"Host": "evil.example"}}, 403, "Host"),
    ("/v1/images/generations", {"json": LONG, "headers": {"Origin": "https://evil.example"}}, 403, "origins"),
    ("/v1/segment", {"data": {"instruction": "x"}}, 400, "send a picture"),
    ("/v1/segment", {"files": {"other": b"x"}}, 400, "the only file"),
])  # fmt: skip
def test_refusals(client, path, how, status, message):
    answer = client.post(path, **how)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_a_segmentation_is_streamed(client, server, png, pixels):
    form = {"stream": "true", "partial_images": "1", "num_inference_steps": "2"}
    answer = client.post("/v1/segment", files={"image": png}, data=form)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == ["image_segmentation.partial_image", "image_segmentation.completed"]
    found = server[1].segment(pixels, num_inference_steps=2)
    assert [region["area"] for region in events[-1]["regions"]] == [region.area for region in found.regions]


def test_a_picture_over_the_limit_is_refused(client):
    out = io.BytesIO()
    Image.new("RGB", (500, 500)).save(out, "PNG")
    answer = client.post("/v1/reconstruct", files={"image": out.getvalue()})
    assert answer.status_code == 400
    assert "over the limit of 200000" in answer.json()["error"]["message"]


def cancelled(engine, task):
    return engine.metrics()["requests"].get(task, {}).get("cancelled", 0)


def test_a_client_that_leaves_cancels_its_request(client, server):
    engine = server[1]
    before = cancelled(engine, "generate")
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/images/generations", json=LONG, timeout=1)
    until(lambda: cancelled(engine, "generate") == before + 1)
    before = cancelled(engine, "ask")
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 16, "temperature": 1.0}
    engine_ask = engine.ask

    def slow(*arguments, stream=False, **options):
        pieces = engine_ask(*arguments, stream=stream, **options)
        cancel = options["cancel"]

        class Slow:
            def __iter__(self):
                yield next(pieces)
                while not cancel():
                    time.sleep(0.01)
                yield from pieces

        return Slow()

    engine.ask = slow
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert next(answer.iter_lines()).startswith("data: ")
    finally:
        del engine.ask
    until(lambda: cancelled(engine, "ask") == before + 1)
    assert engine.metrics()["running"] == 0


def test_what_exceeds_the_memory_budget_is_the_requests_fault(serving):
    pytest.importorskip("spar_engine._native")
    options = {"backend": "native", "memory_budget": 5_000_000, "cache_bytes": 0}
    with serving(options, warmup=False) as (url, engine):
        body = {"prompt": "x", "num_inference_steps": 1}
        assert httpx.post(f"{url}/v1/images/generations", json=body, timeout=60).status_code == 200
        answer = httpx.post(f"{url}/v1/images/generations", json=body | {"size": "256x256"}, timeout=60)
        assert answer.status_code == 400
        assert "memory_budget is 5 MB" in answer.json()["error"]["message"]
        assert engine.metrics()["components"]["dit"]["calls"] == 1


def test_busy_late_and_drained(serving):
    with serving({"max_running": 1, "max_waiting": 0}, timeout=1.0, max_steps=1000) as (url, engine):
        until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        assert set(engine.metrics()["components"]) >= {"dit", "decoder", "lm_head"}
        found = []
        late = threading.Thread(target=lambda: found.append(
            httpx.post(f"{url}/v1/images/generations", json=LONG | {"guidance_scale": 5.0}, timeout=60)))  # fmt: skip
        late.start()
        until(lambda: engine.metrics()["running"] == 1)
        busy = httpx.post(f"{url}/v1/images/generations", json=LONG, timeout=60)
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        assert "busy" in busy.json()["error"]["message"]
        late.join(60)
        assert found[0].status_code == 504, found[0].text
        last = threading.Thread(target=lambda: found.append(httpx.post(
            f"{url}/v1/images/generations", json={"prompt": "x", "num_inference_steps": 20}, timeout=60)))  # fmt: skip
        last.start()
        until(lambda: engine.metrics()["running"] == 1)
    last.join(60)  # the server was told to stop meanwhile, and finished it
    assert found[1].status_code == 200, found[1].text


def test_a_body_that_does_not_arrive_is_given_up(serving):
    with serving(body_timeout=0.3, warmup=False) as (url, _):
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n"
                               b"Content-Type: application/json\r\n\r\n{")  # fmt: skip
            assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(("given", "kind", "message"), [
    ({"host": "0.0.0.0"}, ConfigError, "set an API key"),
    ({"api_key": "short"}, ConfigError, "at least 16"),
    ({"port": 70000}, InputError, "port=70000"),
    ({"max_body": 0}, InputError, "max_body=0"),
    ({"timeout": 0}, ConfigError, "timeout=0"),
])  # fmt: skip
def test_bad_settings_are_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        settings.Settings(**given)
    assert settings.Settings(host="0.0.0.0", api_key=KEY).api_key not in repr(settings.Settings(api_key=KEY))
