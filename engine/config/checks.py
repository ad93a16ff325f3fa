"""Checks of single fields, for the dataclasses of a model's parts. All raise ConfigError."""

from __future__ import annotations

import math

from ..errors import ConfigError

MOST_LAYERS = 1024  # keeps a damaged file from describing a model that never ends


def whole(part: str, config: object, names: str, most: int | None = None) -> None:
    """Refuse any of the fields `names` that is not a whole number from 1 to `most`."""
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{part}: {name}={value!r} must be a whole number of at least 1")
        if most is not None and value > most:
            raise ConfigError(f"{part}: {name}={value} is more than the {most} that this engine allows")


def above_zero(part: str, config: object, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{part}: {name}={value!r} must be a finite number greater than 0")


def divides(part: str, name: str, value: int, by_name: str, by: int) -> None:
    if value % by:
        raise ConfigError(f"{part}: {name}={value} is not a multiple of {by_name}={by}")
