"""The application: routes, guard, and what happens at start and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI

from ..api import Engine
from . import chat, faults, images, page, status
from .guard import Guard
from .service import Service
from .settings import Settings

log = logging.getLogger("spar.server")


def build_app(engine: Engine, settings: Settings) -> FastAPI:
    """An ASGI application for one engine; it closes the engine when it ends."""
    held = Service(engine, settings)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(_make_ready(held))
        try:
            yield
        finally:
            held.ready = False
            warming.cancel()
            await asyncio.to_thread(engine.close)

    app = FastAPI(title="SPAR Engine", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = held
    app.add_middleware(Guard, settings=settings)
    faults.install(app)
    for part in (images, chat, status, page):
        app.include_router(part.routes)
    return app


async def _make_ready(held: Service) -> None:
    try:
        if held.settings.warmup:
            await asyncio.to_thread(held.engine.warmup, preview=True)
    except Exception:
        log.exception("the warm-up failed; the server stays unready")
    else:
        held.ready = True
