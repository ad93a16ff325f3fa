"""/health, /ready, /metrics and /v1/models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..runtime.metrics import prometheus
from .service import service

routes = APIRouter()


@routes.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@routes.get("/ready", response_model=None)
async def ready(request: Request) -> Response:
    """The model is loaded and has run; 503 before."""
    if service(request).ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "warming up"}, 503)


@routes.get("/metrics", response_model=None)
async def metrics(request: Request) -> Response:
    text = prometheus(service(request).engine.metrics())
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@routes.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_model(request)]}


@routes.get("/v1/models/{name}")
async def model(request: Request, name: str) -> dict[str, Any]:
    service(request, name)
    return _model(request)


def _model(request: Request) -> dict[str, Any]:
    held = service(request)
    return {"id": held.name, "object": "model", "created": held.begun, "owned_by": "spar"}
