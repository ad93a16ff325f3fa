"""Errors as HTTP answers in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ..errors import Busy, Cancelled, DeadlineExceeded, InputError, OverBudget, SparError

log = logging.getLogger("spar.server")
GONE = 499
"""Status for the log when the client has left; nobody reads it."""


class ClientGone(Exception):
    """The client closed its connection."""


def status_of(error: BaseException) -> int:
    """HTTP status of an error."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, (ClientGone, Cancelled, asyncio.CancelledError)):
        return GONE
    if isinstance(error, (InputError, OverBudget, ValidationError, RequestValidationError)):
        return 400
    if isinstance(error, Busy):
        return 503
    return 504 if isinstance(error, DeadlineExceeded) else 500


def body_of(error: BaseException) -> dict[str, Any]:
    """What the client is told; nothing about the inside of an unexpected error."""
    status, param = status_of(error), None
    if isinstance(error, HTTPException):
        message = str(error.detail)
    elif isinstance(error, (ValidationError, RequestValidationError)):
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{param or 'request'}: {first['msg']}"
    elif isinstance(error, SparError):
        message = str(error)
    else:
        message = "the server failed; its log says why"
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def answer(error: BaseException) -> JSONResponse:
    """The whole answer."""
    status = status_of(error)
    if status == 500:
        log.error("request failed", exc_info=error)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(body_of(error), status, headers)


def install(app: FastAPI) -> None:
    """Answer every error of the routes in this form."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return answer(error)

    for kind in (HTTPException, RequestValidationError, ValidationError, SparError, ClientGone, Exception):
        app.add_exception_handler(kind, handle)
