"""Hold expectations against results: which are held, which are broken, and what is true instead.

An expectation is broken when one of its cells breaks it, and open when none does but one cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from actprof.cell import Cell
from actprof.claims.claim import Expectation
from actprof.claims.expected import Actual, Expected, scale_of, units_in
from actprof.claims.quantities import BYTES, COUNT, RATIO, SHARE
from actprof.claims.read_quantity import needs_facts, read_facts, read_result, why_missing
from actprof.claims.true_instead import say_instead
from actprof.errors import TraceError
from actprof.policies.facts import PolicyFacts
from actprof.results import Result, Verdict
from actprof.units import format_bytes

_MOST_SHOWN = 3  # different figures of one quantity
_MOST_DIGITS = 9

type GetFacts = Callable[[Cell], PolicyFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cell's figure: the value (None: not known), and whether it is as expected (None: open).

    Attributes:
        cell: whose it is.
        value: the figure; of a ratio, the quotient.
        held: whether it is as expected.
        note: why there is no value.
        result: of the cell.
    """

    cell: Cell
    result: Result
    value: Actual | None
    held: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one expectation; a record that saves as JSON.

    Attributes:
        entry: number of the entry of `expect:`; outcomes of one entry belong to one claim.
        claim, source: who says so, and where; may be empty.
        quantity: its name; `ratio of …` for a ratio.
        scope: in words, which cells it is about.
        expected, actual: as texts, in the same unit.
        held: whether it is so; None where it cannot be told.
        instead: what is true instead, in a sentence; may be empty.
        cells: which cells it is about.
        broken_cells: how many of them break it.
    """

    entry: int
    claim: str
    source: str
    quantity: str
    scope: str
    expected: str
    actual: str
    held: bool | None
    instead: str
    cells: tuple[Cell, ...]
    broken_cells: int = 0


def evaluate(
    expectations: Iterable[Expectation], results: Mapping[str, Result], facts: GetFacts
) -> tuple[Outcome, ...]:
    """Return what became of each expectation, in their order.

    Args:
        expectations: of a scenario.
        results: of every cell that they are about, by `Cell.identity`.
        facts: returns what the policy of a cell says of itself, or raises `TraceError`.
    """
    return tuple(_evaluate(expectation, results, facts) for expectation in expectations)


def _evaluate(expectation: Expectation, results: Mapping[str, Result], facts: GetFacts) -> Outcome:
    against = expectation.against or (None,) * len(expectation.cells)
    readings = [
        _read(expectation, cell, other, results, facts)
        for cell, other in zip(expectation.cells, against, strict=True)
    ]
    broken = [reading for reading in readings if reading.held is False]
    unclear = [reading for reading in readings if reading.held is None]
    held = False if broken else None if unclear else True
    return Outcome(
        entry=expectation.entry,
        claim=expectation.claim,
        source=expectation.source,
        quantity=expectation.label,
        scope=_scope(expectation),
        expected=str(expectation.expected),
        actual=_actual(broken or unclear or readings, expectation),
        held=held,
        instead=_instead(expectation, broken or unclear, len(readings), facts),
        cells=expectation.cells,
        broken_cells=len(broken),
    )


def _read(
    expectation: Expectation,
    cell: Cell,
    other: Cell | None,
    results: Mapping[str, Result],
    facts: GetFacts,
) -> Reading:
    name, result = expectation.name, results[cell.identity()]
    value, note = _value(name, result, facts)
    if other is not None and value is not None:
        beside, note = _value(name, results[other.identity()], facts)
        value = _quotient(value, beside)
        note = note or ("" if value is not None else "it would be divided by nothing")
    held: bool | None = None
    if value is not None:
        held = expectation.expected.holds(value) or (None if value == Verdict.UNKNOWN else False)
    elif note and name.startswith("oom.") and result.runs:
        held = False  # what does not run out does not run out like that
    return Reading(cell=cell, result=result, value=value, held=held, note=note)


def _value(name: str, result: Result, facts: GetFacts) -> tuple[Actual | None, str]:
    """Return a figure, or why there is none."""
    if result.verdict == Verdict.UNKNOWN and name != "verdict":
        return None, result.reason
    if not needs_facts(name):
        value = read_result(name, result)
        return value, "" if value is not None else why_missing(name, result)
    try:
        return read_facts(name, facts(result.cell)), ""
    except TraceError as error:
        return None, str(error)


def _quotient(value: Actual, beside: Actual | None) -> Decimal | None:
    if isinstance(value, str) or isinstance(beside, str) or not beside:
        return None
    return Decimal(value) / Decimal(beside)


def _scope(expectation: Expectation) -> str:
    if not expectation.against:
        return expectation.scope
    first, other = expectation.cells[0], expectation.against[0]
    return f"{expectation.scope}, against {_difference(first, other)}"


def _difference(cell: Cell, other: Cell) -> str:
    """Return in words how `other` differs from `cell`."""
    mine, theirs = cell.to_json(), other.to_json()
    fields = [f"{name} {theirs[name]}" for name in mine if mine[name] != theirs[name]]
    return ", ".join(fields) or "itself"


def _actual(readings: Sequence[Reading], expectation: Expectation) -> str:
    """Return the figures of `readings`: each once, or the lowest and the highest of many."""
    known = [reading for reading in readings if reading.value is not None]
    if not known:
        return "does not run out" if any(r.held is False for r in readings) else "not known"
    shown = {reading.value: figure_text(reading, expectation) for reading in known}
    texts = dict.fromkeys(shown.values())
    if len(texts) <= _MOST_SHOWN or any(isinstance(value, str) for value in shown):
        return ", ".join(texts)
    ordered = sorted(shown, key=lambda value: Decimal(str(value)))
    return f"{shown[ordered[0]]} to {shown[ordered[-1]]}"


def figure_text(reading: Reading, expectation: Expectation) -> str:
    """Return the figure in the unit of what is expected, with enough digits to tell it from that."""
    value = reading.value
    if value is None or isinstance(value, str):
        return value or "not known"
    kind, unit = expectation.quantity.kind, units_in(expectation.expected)
    if kind == COUNT:
        return f"{value:,}"
    if kind == BYTES and not unit:
        return format_bytes(int(value))
    number = Decimal(value) / scale_of(unit)
    suffix = {BYTES: f" {unit}", SHARE: " %", RATIO: ""}[kind]
    for digits in range(1 if kind == SHARE else 2, _MOST_DIGITS):
        rounded = f"{number:.{digits}f}"
        if _says_the_same(rounded, unit, reading.held, expectation.expected):
            break
    return rounded + suffix


def _says_the_same(rounded: str, unit: str, held: bool | None, expected: Expected) -> bool:  # noqa: FBT001 - an outcome
    return expected.holds(Decimal(rounded) * scale_of(unit)) == held


def _instead(expectation: Expectation, at_fault: Sequence[Reading], count: int, facts: GetFacts) -> str:
    if not at_fault:
        return ""
    first = at_fault[0]
    said = [first.note.rstrip(".")] if first.note else []
    if first.value is not None:
        with suppress(TraceError):  # what is true instead is more than was asked
            said = [text for text in [say_instead(expectation, first.result, first.value, facts)] if text]
    if count > len(at_fault):
        said.append(f"so in {len(at_fault)} of {count} cells")
    return "; ".join(said)
