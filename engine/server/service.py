"""What the routes share: the engine, its limits and its name."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from ..api import Engine
from ..errors import InputError
from .settings import Settings


@dataclass(slots=True)
class Service:
    """One engine behind one server."""

    engine: Engine
    settings: Settings
    ready: bool = False
    begun: int = field(default_factory=lambda: int(time.time()))

    @property
    def name(self) -> str:
        """The model's id."""
        return self.engine.config.name

    @property
    def sides(self) -> tuple[int, int]:
        """Sides of generated pictures: the usual one, and the decoder's own."""
        config = self.engine.config
        return config.picture_size, config.dit.sample_size * config.decoder.upscale

    def terms(self) -> dict[str, Any]:
        """How long a request may take."""
        return {"deadline": self.settings.timeout}

    def limit(self, name: str, value: int, most: int) -> None:
        """InputError for a value over this server's limit; the engine refuses what is too small."""
        if value > most:
            raise InputError(f"{name}={value} is over this server's limit of {most}")


def service(request: Request, model: str | None = None) -> Service:
    """The service of a request; 404 when it asks for another model."""
    held: Service = request.app.state.service
    if model not in (None, held.name):
        raise HTTPException(404, f"model {model!r} is not served here; use {held.name!r}")
    return held
