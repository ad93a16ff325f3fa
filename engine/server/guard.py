"""What every request passes first: host, origin, key, size of the body and the time it takes to arrive."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from .faults import answer
from .page import PAGE
from .settings import LOOPBACK_NAMES, Settings, is_loopback

OPEN = ("/health", "/ready", *PAGE)
"""Paths that need no key; the page asks for one and sends it with what it requests."""


class Guard:
    """ASGI middleware that refuses a request before anything reads it."""

    def __init__(self, app: Any, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope["path"], Headers(scope=scope))
        except HTTPException as refused:
            await answer(refused)(scope, receive, send)
            return
        await self.app(scope, _Body(receive, self.settings), send)

    def _check(self, path: str, headers: Headers) -> None:
        # A page in a browser on this machine must not reach a server on loopback, by its own name or another's.
        host = urlsplit(f"//{headers.get('host', '')}")
        if is_loopback(self.settings.host) and host.hostname not in LOOPBACK_NAMES:
            raise HTTPException(403, "the Host header names another machine; this server answers on loopback only")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host.netloc:
            raise HTTPException(403, "requests from pages of other origins are refused")
        if self.settings.api_key is not None and path not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            good = hmac.compare_digest(given.strip().encode(), self.settings.api_key.encode())
            if scheme.lower() != "bearer" or not good:
                raise HTTPException(401, "the API key is missing or wrong; send `Authorization: Bearer KEY`")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.max_body:
            raise _too_large(self.settings)


class _Body:
    """Receives a request's body within the limits, then whatever follows it."""

    def __init__(self, receive: Any, settings: Settings):
        self._receive, self._settings = receive, settings
        self._read, self._whole = 0, False
        self._end = asyncio.get_running_loop().time() + settings.body_timeout

    async def __call__(self) -> dict[str, Any]:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the request did not arrive in {self._settings.body_timeout:g} s") from None
        self._whole = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._settings.max_body:
            raise _too_large(self._settings)
        return message


def _too_large(settings: Settings) -> HTTPException:
    return HTTPException(413, f"the request is over the limit of {settings.max_body} bytes")
