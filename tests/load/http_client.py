"""The HTTP side of the load test: a server in this process, and a client that may close its connection."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image
from spar_engine.errors import Busy, Cancelled, DeadlineExceeded
from spar_engine.server.app import build_app
from spar_engine.server.settings import Settings

PATIENCE = 300.0


@contextlib.contextmanager
def serving(engine: Any) -> Iterator[str]:
    """A server of `engine` on a free port; its address."""
    app = build_app(engine, Settings(port=0, warmup=False))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=20))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


class HttpClient:
    """Sends the requests of the load test, and reads what `digest` compares."""

    def __init__(self, url: str):
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)

    def call(self, task: str, given: dict[str, Any], leave: float | None) -> Any:
        """The result; with `leave` the connection is closed after so many seconds, as a Cancelled."""
        given = dict(given)
        timeout = httpx.Timeout(PATIENCE, read=PATIENCE if leave is None else leave + 1e-3)
        try:
            answer = self._http.post(timeout=timeout, **self._request(task, given))
        except httpx.ReadTimeout:
            if leave is None:
                raise
            raise Cancelled("the client left") from None
        if answer.status_code == 503:
            raise Busy(answer.text)
        if answer.status_code == 504:
            raise DeadlineExceeded(answer.text)
        answer.raise_for_status()
        found = answer.json()
        if task == "ask":
            return found["choices"][0]["message"]["content"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(found["data"][0]["b64_json"]))))

    @staticmethod
    def _request(task: str, given: dict[str, Any]) -> dict[str, Any]:
        image = given.pop("image", None)
        if task == "ask":
            content: Any = [{"type": "text", "text": given["question"]}]
            if image is not None:
                data = base64.b64encode(png(image)).decode()
                content.insert(0, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
            body = {"messages": [{"role": "user", "content": content}], "max_tokens": given["max_new_tokens"]}
            return {"url": "/v1/chat/completions", "json": body}
        if task == "generate":
            return {"url": "/v1/images/generations", "json": given}
        path = {"edit": "/v1/images/edits", "segment": "/v1/segment", "reconstruct": "/v1/reconstruct"}[task]
        return {"url": path, "data": {name: str(value) for name, value in given.items()},
                "files": {"image": ("picture.png", png(image), "image/png")}}  # fmt: skip
