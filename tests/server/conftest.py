"""A server on a free loopback port, with the small checkpoint behind it."""

from __future__ import annotations

import contextlib
import io
import threading
import time

import numpy as np
import pytest
import spar_engine
from PIL import Image

KEY = "sk-a-key-for-tests-only"


@pytest.fixture(scope="session")
def serving(golden_dir):
    """serving(**settings) as a context: (url, engine) of a running server."""
    uvicorn = pytest.importorskip("uvicorn")
    from spar_engine.server.app import build_app
    from spar_engine.server.settings import Settings

    @contextlib.contextmanager
    def start(engine_options=None, **settings):
        options = {"backend": "torch", "threads": 1} | (engine_options or {})
        engine = spar_engine.load(golden_dir("spar-tiny") / "checkpoint", **options)
        app = build_app(engine, Settings(**{"port": 0} | settings))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=20))
        thread = threading.Thread(target=server.run)
        thread.start()
        end = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", engine
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()

    return start


@pytest.fixture(scope="module")
def server(serving):
    with serving(api_key=KEY, max_body=1 << 20, max_pixels=200_000, max_new_tokens=16, max_images=2, max_steps=1000,
                 warmup=False) as found:  # fmt: skip
        yield found


@pytest.fixture(scope="session")
def pixels():
    return (np.random.default_rng(0).random((60, 90, 3)) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
