"""ModelConfig as plain data and back; what is not a field is refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from ..errors import ConfigError
from .jsonfile import Fields, near
from .model import ModelConfig


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Nested dict of JSON values; `from_dict` gives an equal ModelConfig."""
    return _plain(dataclasses.asdict(config))


def from_dict(values: dict[str, Any], where: str = "model") -> ModelConfig:
    """ModelConfig from the form of `to_dict`.

    errors  ConfigError naming `where`, the field and its value: unknown, missing, or of another type
    """
    return _build(ModelConfig, values, where)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(kind: type, values: object, where: str) -> Any:
    given = Fields(values, where).values
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(given.keys() - fields.keys())
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; {near(unknown[0], fields)}")
    missing = [name for name, field in fields.items() if name not in given and field.default is dataclasses.MISSING]
    if missing:
        raise ConfigError(f"{where}: lacks {missing}; add them")
    types_of = typing.get_type_hints(kind)
    return kind(**{name: _value(types_of[name], value, f"{where}.{name}") for name, value in given.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `kind` wants it."""
    if typing.get_origin(kind) is types.UnionType:  # only `X | None` occurs
        return None if value is None else _value(typing.get_args(kind)[0], value, where)
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}={value!r} must be a list")
        return tuple(_value(typing.get_args(kind)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}={value!r} must be of type {kind.__name__}")
    return value
