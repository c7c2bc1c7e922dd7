"""What is said once of each field of a cell, and what follows from its kind: checks and words.

Plain data: what reads options, YAML or keyword arguments has a parser for each kind.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from actprof.errors import UsageError
from actprof.units import exact_bytes, format_bytes

_RESOLUTION = re.compile(r"(?P<width>[1-9]\d*)x(?P<height>[1-9]\d*)")

# What a value is: `count` a whole number, `size` and `capacity` bytes, `choice` one and `choices` any of the
# field's choices (any names where it has none), `overrides` names with JSON values, `cameras` their number.
Kind = Literal[
    "policy", "overrides", "count", "cameras", "resolution", "choice", "choices", "alloc_conf", "gpu",
    "capacity", "size", "flag",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CellField:
    """What there is to know of one field of `Cell`.

    Attributes:
        name: of the field, and of its column in tables.
        default: its value where none is given.
        kind: what its values are.
        about: what it is, in a few words, for editors of scenario files.
        help: the same for the help of a command; `about` as a sentence if left out.
        default_text: what that help calls the default; the default itself if left out.
        keyword: of `actprof.predict`; the name without its unit.
        key: in scenario files; the keyword if left out.
        option: of commands; made of the key if left out.
        called: in words for readers; the keyword without underscores if left out.
        choices: the names that it may be, or be made of; none where any will do.
        least: the smallest count or size.
        in_trace: whether a trace depends on it. `when_set` leaves the default out of its key, so that traces
            stay valid which were recorded before there was the field.
        said: whether a command names it even at its default.
        late: whether it comes after the others in a command and its help.
    """

    name: str
    default: Any
    kind: Kind
    about: str
    help: str
    default_text: str = ""
    keyword: str
    key: str
    option: str
    called: str
    choices: tuple[str, ...] = ()
    least: int = 0
    in_trace: Literal["always", "when_set", "never"] = "when_set"
    said: bool = False
    late: bool = False

    @property
    def noun(self) -> str:
        """The field in the singular, as errors call its values: `precision`, `change`."""
        return self.option.removeprefix("--")

    def check(self, value: Any) -> None:
        """Refuse a value that no run can have.

        Raises:
            UsageError: names the field and the value.
        """
        match self.kind:
            case "count" | "cameras" | "size" if type(value) is not int:
                raise UsageError(f"{self.name} is {value!r}; it must be a whole number")
            case "count" | "cameras" | "size" if value < self.least:
                raise UsageError(f"{self.name} is {value}; it must be at least {self.least}")
            case "capacity" if value is not None and value < 1:
                raise UsageError(f"the capacity is {value} bytes; it must be at least 1")
            case "choice" if value not in self.choices:
                article = "an" if self.noun[0] in "aeiou" else "a"
                raise UsageError(
                    f"{value!r} is not {article} {self.noun}; choose one of {', '.join(self.choices)}"
                )
            case "choices" if isinstance(value, str):
                raise UsageError(f"{self.name} is the text {value!r}; give a list of names")
            case "choices" if self.choices and (unknown := [n for n in value if n not in self.choices]):
                raise UsageError(
                    f"{unknown[0]!r} is not a {self.noun}; choose among {', '.join(self.choices)}"
                )
            case "overrides" if endless := [name for name, given in value.items() if _is_endless(given)]:
                raise UsageError(f"{endless[0]} is {value[endless[0]]}; give a number that is finite")
            case "resolution":
                for size in value.split(","):
                    parse_resolution(size)

    def unusual(self, value: Any) -> list[str]:
        """Return what readers are told of a value: `state 14`, `bf16`; nothing of the default."""
        if value is None or value == self.default:
            return []
        match self.kind:
            case "overrides":
                prefix = "" if self.key == "set" else f"{self.key}."
                return [f"{prefix}{name}={value[name]}" for name in sorted(value)]
            case "choices":
                return list(value)
            case "flag":
                value = "on" if value else "off"
            case "size" | "capacity":
                return [f"{format_bytes(value)} {self.called}"]
        return [f"{self.called} {value}" if self.kind in ("flag", "count") else str(value)]

    def words(self, value: Any) -> list[str]:
        """Return the words of a command line that ask for `value`; none where it goes without saying."""
        if value is None or (value == self.default and not self.said):
            return []
        match self.kind:
            case "flag":
                return [self.option if value else f"--no-{self.noun}"]
            case "overrides":
                texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in value.items()}
                given = [f"{name}={texts[name]}" for name in sorted(texts)]
            case "choices":
                given = value
            case "size" | "capacity":
                given = [exact_bytes(value)]
            case _:
                given = [str(value)]
        return [word for text in given for word in (self.option, text)]


def _is_endless(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_cameras(value: Any) -> tuple[Any, str]:
    """Return (number of cameras, their resolutions with commas between or nothing) of either.

    Texts and lists of resolutions are taken, and a number as a text; anything else is returned as it is.
    """
    if isinstance(value, str) and value.isdecimal():
        return int(value), ""
    if isinstance(value, str) and value:
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return value, ""
    return len(value), ",".join(str(size).strip() for size in value)


def parse_resolution(text: str) -> tuple[int, int]:
    """Return (width, height) in pixels of `WIDTHxHEIGHT`.

    Raises:
        UsageError: `text` has another form, or a side of zero.
    """
    match = _RESOLUTION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a resolution; write WIDTHxHEIGHT, like 640x480")
    return int(match["width"]), int(match["height"])
