"""Plain frozen records to JSON values and back: nested records, tuples and mappings, by their type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")


def to_plain(value: Any) -> Any:
    """Return `value` with JSON's own types only; a record becomes a dict with one entry per field."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def tupled(value: Any) -> Any:
    """Return `value` with tuples in place of lists, all the way down: JSON has only lists."""
    return tuple(tupled(item) for item in value) if isinstance(value, list | tuple) else value


def from_plain(kind: type[_Record], data: Mapping[str, Any]) -> _Record:
    """Rebuild a record of `kind` from `to_plain`.

    Fields that an older file lacks take their defaults; names that `kind` does not have are ignored.

    Raises:
        TypeError: a field without default is missing, or something else stands where a record should.
    """
    known = _hints(kind)  # type: ignore[arg-type] # a class is hashable
    return kind(**{name: _rebuild(known[name], value) for name, value in data.items() if name in known})


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def _rebuild(hint: Any, value: Any) -> Any:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        if value is None:
            return None
        return _rebuild(next(part for part in inside if part is not types.NoneType), value)
    if origin is tuple:
        parts = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
        return tuple(_rebuild(part, item) for part, item in zip(parts, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return {name: _rebuild(inside[1], item) for name, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return _record(hint, value) if is_dataclass(hint) else value


def _record(hint: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} cannot be read as {hint}")
    # A record that knows how to read itself (older names, checks) does.
    read = getattr(hint, "from_json", None)
    return read(value) if read else from_plain(hint, value)
