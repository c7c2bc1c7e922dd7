"""The types of a scenario's values: each checks one value, normalises it, and describes itself to editors.

A value that cannot be raises a pydantic error whose text is the whole message for the user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from actprof.cell import CELL_FIELDS
from actprof.cell_field import CellField, parse_resolution, read_cameras
from actprof.errors import UsageError, did_you_mean
from actprof.hardware.catalogue import Catalogue, all_gpus, builtin_catalogue
from actprof.hardware.entries import FIGURES, parse_capacity
from actprof.policies import policy_names
from actprof.units import MIB, parse_bytes

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SIZE = r"[1-9]\d*x[1-9]\d*"
# The words are `actprof.scenario.messages`'s.
_NO_CAMERAS = PydanticCustomError("cameras", "no cameras")
_SIZE_PATTERN = r"^\d+(\.\d+)?\s*([KMGT]i?)?[Bb]?$"


def complaint(text: str) -> PydanticCustomError:
    """Return a pydantic error whose message is exactly `text`."""
    return PydanticCustomError("complaint", "{text}", {"text": text})


def _parsed_by(parse: Callable[[str], Any], *, keep_text: bool = False) -> Callable[[Any], Any]:
    """Return a validator that reads a text with `parse`, whose `UsageError` becomes the message."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            return value  # of another type: pydantic's own check says so
        try:
            parsed = parse(value)
        except UsageError as error:
            raise complaint(str(error)) from error
        return value if keep_text else parsed

    return validate


def _gpu(value: str, info: ValidationInfo) -> str:
    catalogue: Catalogue = (info.context or {}).get("catalogue") or builtin_catalogue()
    name: str = _parsed_by(lambda text: catalogue.find(text).name)(value)
    return name


def _figure(value: str, info: ValidationInfo) -> str:
    """Check a figure of a user's GPU, which stays a text: `gpu_from_entry` reads it."""
    text: str = _parsed_by(FIGURES[info.field_name or ""].parse, keep_text=True)(value)
    return text


def _parse_size(value: str) -> int:
    count = parse_bytes(value)
    if 0 < count < MIB:
        raise UsageError(f"{value!r} is less than 1 MiB; write the unit, like 2.3GiB")
    return count


def _parse_alloc_conf(value: str) -> None:
    if value:
        # Here, and not above: the allocator brings NumPy, which a scenario without the key need not load.
        from actprof.allocator.config import AllocatorConfig

        AllocatorConfig.parse(value)


def _parse_resolutions(value: str) -> None:
    for size in value.split(","):
        parse_resolution(size.strip())


def _cameras(value: Any) -> Any:
    """Return a number of cameras, or their resolutions with commas between."""
    if isinstance(value, list) and not (value and all(isinstance(size, str) for size in value)):
        raise _NO_CAMERAS
    count, listed = read_cameras(value)
    if listed:
        _parsed_by(_parse_resolutions)(listed)
    elif type(count) is not int or count < 0:
        raise _NO_CAMERAS
    return listed or count


def _overrides(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not _IDENTIFIER.fullmatch(name):
            raise complaint(f"{name!r} is not a field of a config; write a name like chunk_size")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise complaint("a value is a number that is not finite; write a finite one") from error
    return value


def _scenario_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise complaint(f"{value!r} cannot name a folder; use letters, digits, '.', '-' and '_'")
    return value


def _names(noun: str, known: tuple[str, ...]) -> Any:
    """Return the type of one of `known`, which errors call `noun`."""

    def validate(value: str) -> str:
        if value in known:
            return value
        hints = [did_you_mean(value, *known), f"known: {', '.join(known)}"]
        raise complaint(f"unknown {noun} {value!r}; {' '.join(filter(None, hints))}")

    return Annotated[str, AfterValidator(validate), WithJsonSchema({"enum": list(known)})]


_TYPES: dict[str, Any] = {
    "policy": _names("policy", policy_names()),
    "overrides": Annotated[dict[str, Any], AfterValidator(_overrides)],
    "cameras": Annotated[
        int | str,
        BeforeValidator(_cameras),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "integer", "minimum": 0},
                    {"type": "array", "items": {"type": "string", "pattern": f"^{_SIZE}$"}, "minItems": 1},
                ]
            }
        ),
    ],
    "resolution": Annotated[
        str,
        AfterValidator(_parsed_by(_parse_resolutions, keep_text=True)),
        WithJsonSchema({"type": "string", "pattern": f"^{_SIZE}(,{_SIZE})*$", "examples": ["640x480"]}),
    ],
    "alloc_conf": Annotated[
        str,
        AfterValidator(_parsed_by(_parse_alloc_conf, keep_text=True)),
        Field(examples=["expandable_segments:True", "max_split_size_mb:128"]),
    ],
    "gpu": Annotated[
        str,
        AfterValidator(_gpu),
        # An editor sees `gpu: 3090` as a number.
        WithJsonSchema({"type": ["string", "integer"], "examples": [gpu.name for gpu in all_gpus()]}),
    ],
    "capacity": Annotated[
        int,
        BeforeValidator(_parsed_by(parse_capacity)),
        WithJsonSchema({"type": "string", "pattern": _SIZE_PATTERN, "examples": ["23.69GiB", "24GB"]}),
    ],
    "size": Annotated[
        int,
        BeforeValidator(_parsed_by(_parse_size)),
        WithJsonSchema({"type": ["string", "integer"], "pattern": _SIZE_PATTERN, "examples": ["2.3GiB"]}),
    ],
    "flag": bool,
}
_NO_TEXTS = ("overrides", "count", "cameras", "flag", "choices")

SIZE_KEYS = tuple(part.key for part in CELL_FIELDS if part.kind in ("capacity", "size"))
# Scalars of these keys stay the text that was written: `gpu: 3090`, `name: on`, `alloc_conf: 8.10`.
TEXT_KEYS = {"name", "question", *(part.key for part in CELL_FIELDS if part.kind not in _NO_TEXTS)}


def type_of(part: CellField) -> Any:
    """Return the type of the values of a cell's field in a scenario file."""
    match part.kind:
        case "count":
            return Annotated[int, Field(ge=part.least)]
        case "choice":
            return _names(part.noun, part.choices)
        case "choices" if not part.choices:
            return list[str]
        case "choices":
            return list[_names(part.noun, part.choices)]  # type: ignore[misc] # made here
    return _TYPES[part.kind]


PolicyName = _TYPES["policy"]
Count = Annotated[int, Field(ge=1)]
ScenarioName = Annotated[str, AfterValidator(_scenario_name), Field(examples=["3090"])]

# The figures of a user's GPU.
_Figure = Annotated[str, AfterValidator(_figure)]
CapacityText = Annotated[_Figure, Field(examples=["23.5GiB"])]
ContextText = Annotated[_Figure, Field(examples=["300MiB"])]
FlopsText = Annotated[_Figure, Field(examples=["35.6 TFLOPS"])]
BandwidthText = Annotated[_Figure, Field(examples=["936 GB/s"])]
SizeText = Annotated[_Figure, Field(examples=["6MiB"])]
ClockText = Annotated[_Figure, Field(examples=["1695 MHz"])]
PowerText = Annotated[_Figure, Field(examples=["350 W"])]
# An editor sees `8.6` as a number.
CapabilityText = Annotated[_Figure, WithJsonSchema({"type": ["string", "number"], "examples": ["8.6"]})]
