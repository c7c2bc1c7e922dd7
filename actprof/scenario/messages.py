"""Pydantic's findings in the user's words: what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actprof.errors import did_you_mean
from actprof.scenario.fields import SIZE_KEYS
from actprof.scenario.schema import CellFields, GpuEntry, ScenarioFile

_LONGEST_SHOWN = 60

_EXPECTED = {
    "bool_type": "true or false",
    "cameras": "a number from 0, or the resolution of each, like [640x480, 480x640]",
    "dict_type": "a mapping, like {chunk_size: 50}",
    "model_type": "a mapping, like {batch_size: [8, 16]}",
    "string_type": "a text",
    "list_type": "a list of values, like [8, 16]",
}
_SPECIAL = {
    ("exclude", "list_type"): "a list of mappings, like [{cameras: 3}]",
    ("expect", "list_type"): "a list of mappings, like [{encoder_tokens: 602}]",
    ("where", "model_type"): "a mapping, like {batch_size: 64}",
    ("at", "model_type"): "a mapping, like {batch_size: 64}",
    ("peft", "dict_type"): "a mapping, like {r: 16}",
    ("gpus", "dict_type"): "a mapping, like {My card: {capacity: 23.5GiB}}",
}


def problem_text(detail: Mapping[str, Any]) -> str:
    """Return one sentence for one entry of `ValidationError.errors()` found by `ScenarioFile`."""
    path: tuple[str | int, ...] = detail["loc"]
    key = next((part or "''" for part in reversed(path) if isinstance(part, str)), "the file")
    kind: str = detail["type"]
    if kind == "complaint":
        return str(detail["ctx"]["text"])
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":  # all else may be left out
        return f"GPU {path[1]!r} has no capacity; add one, like capacity: 23.5GiB"
    if kind == "too_short":
        return f"{key} has no values; write at least one, or remove the axis"
    expected = _expected(detail, key)
    if expected is None:
        return f"{key}: {detail['msg']}"
    sweepable = len(path) == 1 and key in CellFields.model_fields and isinstance(detail["input"], list)
    hint = "; to try several, write it under sweep:" if sweepable else ""
    return f"{key} must be {expected}, not {shown(detail['input'])}{hint}"


def _expected(detail: Mapping[str, Any], key: str) -> str | None:
    kind: str = detail["type"]
    if kind == "greater_than_equal":
        return f"at least {detail['ctx']['ge']}"
    if kind.startswith("int"):
        # Sizes are whole numbers only after they were read from a text.
        return "a size, like 2.3GiB" if key in SIZE_KEYS else "a whole number"
    return _SPECIAL.get((key, kind)) or _EXPECTED.get(kind)


def shown(value: Any) -> str:
    """Return `value` as it looks in YAML, cut short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _unknown_key(path: tuple[str | int, ...]) -> str:
    key, known = str(path[-1]), _known_keys(path)
    hint = did_you_mean(key, *known) or f"the keys here are {', '.join(known)}"
    return f"unknown key {shown(key)}; {hint}"


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    match path:
        case ("gpus", _, _):
            return list(GpuEntry.model_fields)
        case ("expect", _, "at", _) | ("expect", _, _, "ratio_to", _) | ("policies", _, _):
            return list(CellFields.model_fields)
        case ("sweep", _) | ("exclude", _, _) | ("expect", _, "where", _):
            return [*CellFields.model_fields, "set.FIELD"]
    return list(ScenarioFile.model_fields)
