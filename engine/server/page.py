"""The page at `/` to try the five tasks by hand: three files of this package, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

routes = APIRouter()
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_FOLDER = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _file(name: str, kind: str) -> Response:
    return Response((_FOLDER / name).read_bytes(), media_type=kind, headers=HEADERS)


@routes.get("/", include_in_schema=False)
async def html() -> Response:
    return _file(*PAGE["/"])


@routes.get("/page.js", include_in_schema=False)
async def script() -> Response:
    return _file(*PAGE["/page.js"])


@routes.get("/page.css", include_in_schema=False)
async def style() -> Response:
    return _file(*PAGE["/page.css"])
