"""Run a server in this process until it is told to stop."""

from __future__ import annotations

import signal
import sys

from ..api import Engine
from ..errors import MissingDependency
from .settings import Settings


def serve(engine: Engine, settings: Settings) -> None:
    """Listen and answer. SIGINT or SIGTERM ends it: no new connections, running requests get `settings.drain` seconds.

    errors  MissingDependency without the packages of the extra `server`
    """
    try:
        import uvicorn

        from .app import build_app
    except ImportError as error:
        raise MissingDependency(f"spar serve needs {error.name}; pip install 'spar-engine[server]'") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what uvicorn hands the signal on to, once it is done
    uvicorn.run(
        build_app(engine, settings),
        host=settings.host,
        port=settings.port,
        log_config=None,  # its records go where the process sends them
        timeout_graceful_shutdown=max(1, round(settings.drain)),
        timeout_keep_alive=15,
        limit_concurrency=4 * (engine.max_requests + 16),
        server_header=False,
        proxy_headers=False,
    )
