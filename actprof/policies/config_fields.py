"""Whether a field of a policy's config can have a value: by its name and the type that lerobot gives it.

`make_policy_config` takes whatever it is given, and lerobot then fails somewhere with an error of Python's.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from actprof.errors import did_you_mean

# type of a field -> (what it takes in words, what that is when it is read as JSON)
_JSON: dict[Any, tuple[str, Any]] = {
    int: ("a whole number", int),
    float: ("a number", int | float),
    bool: ("true or false", bool),
    str: ("a text", str),
    types.NoneType: ("null", types.NoneType),
    list: ("a list", list | tuple),
    tuple: ("a list", list | tuple),
    dict: ("a mapping", dict),
}


def field_problem(policy: str, name: str, value: Any, hints: Mapping[str, Any]) -> str:
    """Return what is wrong with `name=value` for a config whose fields have the types `hints`, or nothing."""
    if name not in hints:
        fields = sorted(field for field in hints if not field.startswith("_"))
        hint = did_you_mean(name, *fields) or f"it has {', '.join(fields)}"
        return f"lerobot's {policy} config has no field {name!r}; {hint}"
    if _takes(hints[name], value):
        return ""
    return f"{name} is {value!r}; lerobot's {policy} config takes {_called(hints[name])}"


def _takes(hint: Any, value: Any) -> bool:
    """Return whether a value of JSON can be meant by a type; of types that are not JSON's, any can."""
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return any(_takes(one, value) for one in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if isinstance(value, bool) and origin in (int, float):  # which Python calls a whole number
        return False
    of_json = _JSON.get(origin, ("", object))[1]
    return isinstance(value, of_json)


def _called(hint: Any) -> str:
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_called, get_args(hint))))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return _JSON.get(origin, (str(origin),))[0]
