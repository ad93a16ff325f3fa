"""`spar serve`: the HTTP server."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..runtime.logs import FORMATS, LEVELS, set_up
from .options import add_model, open_engine

KEY_VARIABLE = "SPAR_API_KEY"


def add(commands: Any) -> None:
    """Add `spar serve`."""
    text = "answer HTTP requests, OpenAI-compatible"
    parser = commands.add_parser("serve", help=text, description=text)
    parser.set_defaults(run=run)
    add_model(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    group.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (%(default)s)")
    group.add_argument("--api-key-file", type=Path, metavar="FILE", help="file whose first line is the API key; "
                       f"or set {KEY_VARIABLE}. Needed where other machines can reach the host")  # fmt: skip
    group.add_argument("--max-running", type=int, default=8, help="requests that take turns (%(default)s)")
    group.add_argument("--max-waiting", type=int, default=64, help="requests in line; more are refused (%(default)s)")
    group.add_argument("--cache-bytes", type=int, metavar="N", help="bytes of results that requests share, such "
                       "as features of a picture; 0: none (256 MiB, or an eighth of the budget)")  # fmt: skip
    group.add_argument("--memory-budget", type=int, metavar="N", help="bytes that model and requests may hold; "
                       "components are unloaded between uses to stay below")  # fmt: skip
    group.add_argument("--log-format", choices=FORMATS, default="text", help="json: one object a line (%(default)s)")
    group.add_argument("--log-level", choices=LEVELS, default="info", help="least level that is logged (%(default)s)")
    for name, kind, text in (
        ("max-body", int, "bytes of one request"),
        ("max-pixels", int, "pixels of a picture that is sent"),
        ("max-new-tokens", int, "longest answer"),
        ("max-images", int, "pictures drawn by one request"),
        ("max-steps", int, "sampler steps of a picture"),
        ("timeout", float, "seconds for one request, waiting included"),
        ("body-timeout", float, "seconds in which a request must arrive"),
        ("drain", float, "seconds that running requests get at the end"),
    ):
        group.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, metavar="N", help=text)
    group.add_argument("--no-warmup", action="store_false", dest="warmup", help="be ready before anything has run")


def run(arguments: argparse.Namespace) -> int:
    from ..server.run import serve
    from ..server.settings import Settings

    names = ("host", "port", "max_body", "max_pixels", "max_new_tokens", "max_images", "max_steps", "timeout",
             "body_timeout", "drain", "warmup")  # fmt: skip
    given = {name: getattr(arguments, name) for name in names if name in arguments}
    settings = Settings(api_key=_key(arguments.api_key_file), **given)
    set_up(arguments.log_format, arguments.log_level)
    engine = open_engine(arguments, max_running=arguments.max_running, max_waiting=arguments.max_waiting,
                         cache_bytes=arguments.cache_bytes, memory_budget=arguments.memory_budget)  # fmt: skip
    serve(engine, settings)
    return 0


def _key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the API key cannot be read: {error}") from None
    if not lines or not lines[0].strip():
        raise ConfigError(f"{path}: its first line is empty; write the API key there")
    return lines[0].strip()
