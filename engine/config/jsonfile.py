"""Reading JSON configuration files: typed fields, and nothing unknown passes."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ConfigError


def load_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. `-Infinity` and `NaN` are read, as Python and diffusers write them.

    errors  ConfigError when the file is missing, unreadable, not a JSON object, or names a key twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise ConfigError(f"{path}: names {key!r} twice; keep one")
            made[key] = value
        return made

    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({str(error).splitlines()[0]}); correct or download it again") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: is a JSON {type(found).__name__}, not an object")
    return found


def shown(value: Any) -> str:
    """`value` for a message: on one line, and not longer than a line."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def near(name: str, known: Iterable[str]) -> str:
    """Remedy for an unknown name: the known one that looks most like it, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {known}"


class Fields:
    """One JSON object of a configuration, read field by field; `where` names it in messages.

    A value of null counts as absent, as Hugging Face readers have it."""

    def __init__(self, values: object, where: str):
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: is {shown(values)}, not an object")
        self.values, self.where = values, where

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """ConfigError for the first key that is neither in `known` nor private (a leading underscore)."""
        known = frozenset(known)
        unknown = [key for key in self.values if key not in known and not key.startswith("_")]
        if unknown:
            close = difflib.get_close_matches(unknown[0], sorted(known), 1, 0.6)
            remedy = f"did you mean {close[0]!r}?" if close else "no known key looks like it; remove it"
            count = f" (and {len(unknown) - 1} more: {unknown[1:4]})" if len(unknown) > 1 else ""
            raise ConfigError(f"{self.where}: unknown key {unknown[0]!r}{count}; {remedy}")

    def sub(self, name: str) -> Fields | None:
        """The object under `name`, or None."""
        value = self.values.get(name)
        return None if value is None else Fields(value, f"{self.where}: {name}")

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int | None:
        """A whole number of at least `least`."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{self.where}: {name}={shown(value)} must be a whole number of at least {least}")
        return value

    def number(self, name: str, default: float | None = None, most: float = sys.float_info.max) -> float | None:
        """A finite number greater than 0 and at most `most`."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            limit = f" and at most {most:g}" if most < sys.float_info.max else " and finite"
            raise ConfigError(f"{self.where}: {name}={shown(value)} must be a number greater than 0{limit}")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {name}={shown(value)} must be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}: {name}={shown(value)} must be text")
        return value

    def square(self, name: str) -> int | None:
        """A side in pixels, given as a number or as two equal ones."""
        value = self.values.get(name)
        if isinstance(value, list):
            if len(value) != 2 or value[0] != value[1]:
                raise ConfigError(f"{self.where}: {name}={shown(value)} must be square; this family has no other")
            value = value[0]
        return Fields({name: value}, self.where).whole(name)

    def only(self, name: str, *allowed: object) -> None:
        """Refuse any value of `name` but null (absent) and `allowed`: the engine computes nothing else."""
        value = self.values.get(name)
        if value is not None and not any(type(value) is type(one) and value == one for one in allowed):
            remedy = f"this engine computes {' or '.join(map(repr, allowed))}" if allowed else "it must be null"
            raise ConfigError(f"{self.where}: {name}={shown(value)} is not supported; {remedy}")
