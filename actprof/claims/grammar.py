"""The grammar of an expected value: `602`, `< 13 GiB`, `51.6M ± 0.1M`, `12 GiB .. 14 GiB`, `fits or tight`.

A figure on its own holds when the actual one rounds to it as it is written: `602` is exactly that, `17.3M`
is anything that rounds to 17.3 million. Comparisons, tolerances and ranges take figures as exact.
`str` of an expected value reads back as the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from actprof.claims.quantities import BYTES, COUNT, RATIO, SECONDS, SHARE, WORD, Actual, Quantity
from actprof.errors import UsageError
from actprof.units import GIB, KIB, MIB

LONGEST = 200
_INFINITE = Decimal("Infinity")
_SCALES: dict[str, int | Decimal] = {
    "": 1, "%": 1, "K": 10**3, "M": 10**6, "G": 10**9,
    "s": 1, "ms": Decimal("0.001"),
    "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1024**4,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_UNITS = {
    COUNT: ("", "K", "M", "G"),
    BYTES: ("B", "KiB", "MiB", "GiB", "TiB", "KB", "MB", "GB", "TB"),
    SECONDS: ("s", "ms"),
    SHARE: ("%",),
    RATIO: ("",),
}
_LIKE = {
    COUNT: "602 or 51.6M",
    BYTES: "13 GiB or 76 MiB",
    SECONDS: "1.1 s or 470 ms",
    SHARE: "27 %",
    RATIO: "6 or 6.02",
}
_AMOUNT = re.compile(
    r"(?P<sign>[-+\u2212]?)(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,18})(?:\.[0-9]{1,9})?)\s*"
    r"(?P<unit>[A-Za-z%\u00d7]*)"
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# The unit that is often meant by another.
_MEANT = {"KB": "KiB", "MB": "MiB", "GB": "GiB", "KiB": "KB", "MiB": "MB", "GiB": "GB"}
# How a comparison may be written; the first form is how it is shown.
_COMPARISONS = {
    "<=": ("<=", "\u2264", "at most"),
    ">=": (">=", "\u2265", "at least"),
    "<": ("<", "less than", "below", "under"),
    ">": (">", "more than", "above", "over"),
}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as it is written, with its unit."""

    number: Decimal
    unit: str = ""

    @property
    def value(self) -> Decimal:
        """The number in the unit's base: bytes, elements, percent."""
        return self.number * _SCALES[self.unit]

    @property
    def half_digit(self) -> Decimal:
        """Half of the last digit that is written, in the unit's base."""
        exponent = self.number.as_tuple().exponent
        return Decimal((0, (5,), int(exponent) - 1)) * _SCALES[self.unit]

    def __str__(self) -> str:
        space = "" if self.unit in ("", "K", "M", "G") else " "
        return f"{self.number:f}{space}{self.unit}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a quantity should be: one of some words, or a figure in one of some intervals.

    Attributes:
        text: as it is shown; it reads back as the same.
        unit: in which an actual figure is best shown beside it.
        words: of which it should be one; a dotted path stands for what lies in it too.
        intervals: (lowest, highest) of the figures, in the unit's base.
        is_open: whether the ends themselves are left out.
    """

    text: str
    unit: str = ""
    words: tuple[str, ...] = ()
    intervals: tuple[tuple[Decimal, Decimal], ...] = ()
    is_open: bool = False

    def holds(self, actual: Actual) -> bool:
        """Return whether `actual` is as expected."""
        if self.words:
            return any(actual == word or str(actual).startswith(f"{word}.") for word in self.words)
        value = Decimal(actual)
        if any(low < value < high for low, high in self.intervals):
            return True
        return not self.is_open and any(value in ends for ends in self.intervals)

    def __str__(self) -> str:
        return self.text


def one_of(*choices: Amount | str) -> Expected:
    """Expect any of several words, or of several figures, each as precise as it is written."""
    amounts = [choice for choice in choices if isinstance(choice, Amount)]
    return Expected(
        " or ".join(map(str, choices)),
        unit=amounts[0].unit if amounts else "",
        words=tuple(choice for choice in choices if isinstance(choice, str)),
        intervals=tuple((a.value - a.half_digit, a.value + a.half_digit) for a in amounts),
    )


def compare(sign: str, bound: Amount) -> Expected:
    """Expect a figure on one side of a bound: `<`, `<=`, `>` or `>=`."""
    ends = (-_INFINITE, bound.value) if "<" in sign else (bound.value, _INFINITE)
    return Expected(f"{sign} {bound}", bound.unit, intervals=(ends,), is_open="=" not in sign)


def within(middle: Amount, tolerance: Amount) -> Expected:
    """Expect a figure and say how far off it may be; in percent of the figure where that is no share."""
    most = tolerance.value
    if tolerance.unit == "%" != middle.unit:
        most = abs(middle.value) * most / 100
    ends = (middle.value - most, middle.value + most)
    return Expected(f"{middle} ± {tolerance}", middle.unit, intervals=(ends,))


def between(low: Amount, high: Amount) -> Expected:
    """Expect a figure in a range, both ends included."""
    return Expected(f"{low} .. {high}", low.unit, intervals=((low.value, high.value),))


def parse_expected(value: Any, quantity: Quantity) -> Expected:
    """Return what is expected of `quantity`: a text, a number, or a list of them of which one must hold.

    Raises:
        UsageError: says what is wrong with `value` and what to write.
    """
    if isinstance(value, list | tuple):
        return _one_of([_text(item, quantity) for item in value], quantity)
    text = _text(value, quantity)
    if " or " in text:
        return _one_of(text.split(" or "), quantity)
    if quantity.kind == WORD:
        return one_of(_word(text, quantity))
    return _figure(text, quantity)


def _figure(text: str, quantity: Quantity) -> Expected:
    for sign, forms in _COMPARISONS.items():
        for form in forms:
            if text.startswith(form):
                return compare(sign, _amount(text.removeprefix(form), quantity))
    for mark in ("±", "+-", "+/-"):
        if mark in text:
            middle, _, tolerance = text.partition(mark)
            return within(_amount(middle, quantity), _tolerance(tolerance, quantity))
    return _between(text, quantity) if ".." in text else one_of(_amount(text, quantity))


def scale_of(unit: str) -> int | Decimal:
    """Return what one of `unit` is in its base."""
    return _SCALES[unit]


def held_in_other_unit(expected: Expected, quantity: Quantity, actual: Actual) -> str:
    """Return that the figure is right in the unit that 1000 and 1024 make easy to confuse; else nothing."""
    meant = _MEANT.get(expected.unit)
    if meant is None or any(word in expected.text for word in (" .. ", " or ")):
        return ""
    text = expected.text.replace(expected.unit, meant)
    return f"it holds in {meant}: {text}" if parse_expected(text, quantity).holds(actual) else ""


def _text(value: Any, quantity: Quantity) -> str:
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        shown = {type(None): "nothing", dict: "a mapping"}.get(type(value), repr(value))
        raise UsageError(f"{quantity.name} cannot be {shown}; write {_like(quantity)}")
    text = str(value).strip()
    if not text or len(text) > LONGEST:
        raise UsageError(
            f"{quantity.name} has {'no' if not text else 'too long a'} value; {_write(quantity)}"
        )
    return text


def _one_of(texts: Sequence[str], quantity: Quantity) -> Expected:
    if not texts:
        raise UsageError(f"{quantity.name} has no values to choose from; {_write(quantity)}")
    if quantity.kind == WORD:
        return one_of(*(_word(text.strip(), quantity) for text in texts))
    return one_of(*(_amount(text, quantity) for text in texts))


def _between(text: str, quantity: Quantity) -> Expected:
    low, high = (_amount(part, quantity) for part in text.split("..", maxsplit=1))
    if low.value > high.value:
        raise UsageError(f"{quantity.name}: the range {text!r} has nothing in it; write the lower end first")
    return between(low, high)


def _tolerance(text: str, quantity: Quantity) -> Amount:
    units = (*_UNITS[quantity.kind], "%")
    tolerance = _amount(text, quantity, units=units)
    if tolerance.number < 0:
        raise UsageError(f"{quantity.name}: the tolerance {text.strip()!r} is negative; leave out its sign")
    return tolerance


def _amount(text: str, quantity: Quantity, *, units: Sequence[str] | None = None) -> Amount:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{quantity.name} cannot be {text.strip()!r}; {_write(quantity)}")
    units = units or _UNITS[quantity.kind]
    number = Decimal(match["number"].replace(",", "")) * (-1 if match["sign"] in ("-", "\u2212") else 1)
    said: str = match["unit"]
    if quantity.kind == RATIO and said.lower() in ("x", "\u00d7", "times"):
        said = ""
    unit = next((known for known in units if known.lower() == said.lower()), None)
    if unit is None and not said and number == 0:
        unit = ""  # nothing is nothing in every unit
    if unit is None:
        what = f"the unit {said!r} is not one of" if said else "has no unit; add one of"
        known = ", ".join(filter(None, units)) or "none: it is a plain number"
        raise UsageError(f"{quantity.name}: {text.strip()!r}: {what} {known}; {_write(quantity)}")
    return Amount(number, unit)


def _word(text: str, quantity: Quantity) -> str:
    if quantity.words and text not in quantity.words:
        raise UsageError(f"{quantity.name} is never {text!r}; it is one of {', '.join(quantity.words)}")
    if not _WORD.fullmatch(text):
        raise UsageError(f"{quantity.name} cannot be {text!r}; {_write(quantity)}")
    return text


def _like(quantity: Quantity) -> str:
    if quantity.kind == WORD:
        return quantity.words[0] if quantity.words else "a path, like model.encoder"
    return _LIKE[quantity.kind]


def _write(quantity: Quantity) -> str:
    if quantity.kind == WORD:
        return f"write {_like(quantity)}"
    example = _LIKE[quantity.kind].split(" or ", maxsplit=1)[0]
    return f"write like {example}, at most {example}, {example} ± {example} or {example} .. {example}"
