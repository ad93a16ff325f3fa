"""One part of the model from three sources: a field of the file, then what the tensors show, then a preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .jsonfile import Fields

_NUMBERS = ("rope_theta", "eps", "mlp_ratio")


def merge(kind: type, where: str, keys: Mapping[str, str], given: Mapping[str, Any], told: Mapping[str, Any],
          base: Any, *, checked: tuple[str, ...] = ()) -> Any:  # fmt: skip
    """An instance of the dataclass `kind`.

    where    names the file in messages
    keys     field -> its key in the file, for messages
    given    field -> value in the file; None means absent
    told     field -> value that the tensors show
    base     the preset's instance of `kind`, or None
    checked  fields whose two values must agree (the others are left to the strict check of shapes)
    errors   ConfigError for a contradiction, and for a required field that no source gives
    """
    for field in checked:
        agree(where, keys[field], given.get(field), told.get(field))
    values = {}
    for field in dataclasses.fields(kind):
        for source in (given, told, {} if base is None else {field.name: getattr(base, field.name)}):
            if source.get(field.name) is not None:
                values[field.name] = source[field.name]
                break
        else:
            if field.default is dataclasses.MISSING:
                raise ConfigError(
                    f"{where}: lacks {keys.get(field.name, field.name)!r}, which neither the tensors nor a "
                    "preset of this size give; add it"
                )
    return kind(**values)


def agree(where: str, key: str, given: Any, told: Any) -> None:
    """ConfigError when the file and the tensors both tell and differ."""
    if given is not None and told is not None and given != told:
        raise ConfigError(
            f"{where}: {key}={given}, but the tensors have {told}; "
            "correct the file or use the one that belongs to these weights"
        )


def numbers(fields: Fields, keys: dict[str, str]) -> dict[str, Any]:
    """Every field of `keys`: a number where the model wants one, else a whole number."""
    return {name: (fields.number if name in _NUMBERS else fields.whole)(key) for name, key in keys.items()}
