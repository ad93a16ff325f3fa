"""Logs of requests: the logger `spar.requests`, and a formatter that writes any record as one line of JSON.

Neither prompts nor pictures are logged."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

from ..errors import InputError
from .line import Request

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
log = logging.getLogger("spar.requests")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, then whatever `extra` gave, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(form: str = "text", level: str = "info", to: TextIO | None = None) -> None:
    """Send every log record of this process to `to` (standard error), replacing any earlier set-up.

    form   "text", or "json" for one object a line
    level  "debug", "info", "warning" or "error"
    """
    if form not in FORMATS or level not in LEVELS:
        raise InputError(f"log format {form!r}, level {level!r}: use {' or '.join(FORMATS)}, and {', '.join(LEVELS)}")
    handler = logging.StreamHandler(to or sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


class RequestLog:
    """An observer that logs every request as it ends; each run of a component at level debug."""

    def ran(self, requests: list[Request], component: str, inputs: dict[str, Any], begin: float, end: float) -> None:
        if log.isEnabledFor(logging.DEBUG):
            numbers = [request.number for request in requests]
            log.debug("%s of %s: %.4f s", component, numbers, end - begin,
                      extra={"event": "component", "requests": numbers, "component": component,
                             "seconds": end - begin})  # fmt: skip

    def finished(self, request: Request, outcome: str, begin: float, end: float) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("%s %d %s: %.3f s, of them %.3f in line", request.task, request.number, outcome, end - begin,
                     request.waited, extra={
                         "event": "request", "request": request.number, "task": request.task, "outcome": outcome,
                         "seconds": end - begin, "waited": request.waited, "priority": request.terms.priority,
                         "components": request.timings.as_dict(),
                     })  # fmt: skip
