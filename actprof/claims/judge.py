"""Hold expectations against results: which are held, which are broken, and what is true instead.

An expectation is broken when one of its cells breaks it, and open when none does but one cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, zip_longest

from actprof.cell import Cell
from actprof.claims.expectation import Expectation
from actprof.claims.grammar import held_in_other_unit, scale_of
from actprof.claims.quantities import (
    BYTES,
    COUNT,
    RATIO,
    SECONDS,
    SHARE,
    Actual,
    GetFacts,
    read_quantity,
    resnets,
)
from actprof.errors import TraceError
from actprof.policies.facts import PolicyFacts
from actprof.prediction.attribution import Holder, largest_first, rank_holders
from actprof.results import Breakdown, Result, Verdict
from actprof.units import format_bytes

_MOST_SHOWN = 3  # different figures of one quantity
_MOST_DIGITS = 9
_MOST_NAMED = 4  # holders of memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one expectation; a record that saves as JSON.

    Attributes:
        entry, claim, source, scope, cells: as in the `Expectation`.
        quantity: its name; `ratio of …` for a ratio.
        expected, actual: as texts, in the same unit.
        held: whether it is so; None where it cannot be told.
        instead: what is true instead, in a sentence; may be empty.
        broken_cells: how many of the cells break it.
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
        facts: as for `read_quantity`.
    """
    return tuple(_evaluate(expectation, results, facts) for expectation in expectations)


def claims_of(outcomes: Iterable[Outcome]) -> list[list[tuple[Outcome, str, str]]]:
    """Return the outcomes of each claim: of every entry of `expect:`, in its order.

    Beside each stand the quantity as the claim calls it, with what its scope has beyond the first one's, and
    what is true instead: where several that follow each other have the same explanation, the last shows it.
    """
    return [_claim(list(entry)) for _, entry in groupby(outcomes, key=lambda outcome: outcome.entry)]


def _claim(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, str, str]]:
    names = [_quantity(outcome, outcomes[0].scope) for outcome in outcomes]
    said = [outcome.instead for outcome in outcomes]
    once = ["" if text == following else text for text, following in zip(said, [*said[1:], ""], strict=True)]
    return list(zip(outcomes, names, once, strict=True))


def _quantity(outcome: Outcome, scope: str) -> str:
    beside = outcome.scope.removeprefix(scope).removeprefix(", ")
    return f"{outcome.quantity} {beside}" if beside else outcome.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A result's figure, or why there is none; `held` says whether it is as expected (None: open)."""

    result: Result
    value: Actual | None
    held: bool | None
    note: str


def _evaluate(expectation: Expectation, results: Mapping[str, Result], facts: GetFacts) -> Outcome:
    beside = [results[cell.identity()] for cell in expectation.against]  # all or none
    readings = [
        _read(expectation, results[cell.identity()], other, facts)
        for cell, other in zip_longest(expectation.cells, beside)
    ]
    broken = [reading for reading in readings if reading.held is False]
    unclear = [reading for reading in readings if reading.held is None]
    return Outcome(
        entry=expectation.entry,
        claim=expectation.claim,
        source=expectation.source,
        quantity=expectation.label,
        scope=_scope(expectation),
        expected=str(expectation.expected),
        actual=_actual(broken or unclear or readings, expectation),
        held=False if broken else None if unclear else True,
        instead=_instead(expectation, broken or unclear, len(readings), facts),
        cells=expectation.cells,
        broken_cells=len(broken),
    )


def _read(expectation: Expectation, result: Result, other: Result | None, facts: GetFacts) -> _Reading:
    name = expectation.name
    value, note = read_quantity(name, result, facts)
    if other is not None and value is not None:
        beside, note = read_quantity(name, other, facts)
        value = _quotient(value, beside)
        note = note or ("" if value is not None else "it would be divided by nothing")
    held: bool | None = None
    if value is not None:
        held = expectation.expected.holds(value) or (None if value == Verdict.UNKNOWN else False)
    elif note and name.startswith("oom.") and result.runs:
        held = False  # what does not run out does not run out like that
    return _Reading(result=result, value=value, held=held, note=note)


def _quotient(value: Actual, beside: Actual | None) -> Decimal | None:
    if isinstance(value, str) or isinstance(beside, str) or not beside:
        return None
    return Decimal(value) / Decimal(beside)


def _scope(expectation: Expectation) -> str:
    if not expectation.against:
        return expectation.scope
    mine, theirs = expectation.cells[0].to_json(), expectation.against[0].to_json()
    fields = [f"{name} {theirs[name]}" for name in mine if mine[name] != theirs[name]]
    return f"{expectation.scope}, against {', '.join(fields) or 'itself'}"


def _actual(readings: Sequence[_Reading], expectation: Expectation) -> str:
    """Return the figures of `readings`: each once, or the lowest and the highest of many."""
    shown = {r.value: _figure_text(r.value, r.held, expectation) for r in readings if r.value is not None}
    if not shown:
        return "does not run out" if any(r.held is False for r in readings) else "not known"
    texts = dict.fromkeys(shown.values())
    if len(texts) <= _MOST_SHOWN or any(isinstance(value, str) for value in shown):
        return ", ".join(texts)
    ordered = sorted(shown, key=lambda value: Decimal(str(value)))
    return f"{shown[ordered[0]]} to {shown[ordered[-1]]}"


def _figure_text(value: Actual, held: bool | None, expectation: Expectation) -> str:  # noqa: FBT001 - an outcome
    """Return a figure in the unit of what is expected, with enough digits to tell it from that."""
    if isinstance(value, str):
        return value
    expected, kind = expectation.expected, expectation.quantity.kind
    unit = expected.unit
    if kind == COUNT:
        return f"{value:,}"
    if kind == BYTES and not unit:
        return format_bytes(int(value))
    scale = Decimal(scale_of(unit))
    for digits in range(1 if kind == SHARE else 2, _MOST_DIGITS):
        rounded = f"{Decimal(value) / scale:.{digits}f}"
        if expected.holds(Decimal(rounded) * scale) == held:
            break
    return rounded + {BYTES: f" {unit}", SECONDS: f" {unit or 's'}", SHARE: " %", RATIO: ""}[kind]


# -- what is true instead ------------------------------------------------------------------------------


def _instead(expectation: Expectation, at_fault: Sequence[_Reading], count: int, facts: GetFacts) -> str:
    if not at_fault:
        return ""
    first = at_fault[0]
    said = [first.note.rstrip(".")]
    if first.value is not None:
        with suppress(TraceError):  # what is true instead is more than was asked
            said = [_say_instead(expectation, first.result, first.value, facts)]
    if count > len(at_fault):
        said.append(f"so in {len(at_fault)} of {count} runs")
    return "; ".join(filter(None, said))


def _say_instead(expectation: Expectation, result: Result, value: Actual, facts: GetFacts) -> str:
    """Return what is true of a cell that breaks `expectation` with `value`; nothing where figures say it."""
    name = expectation.name
    if name == "verdict":
        return result.reason
    if name == "parameters":
        return _by_component(facts(result.cell))
    if name in ("backbones", "parameters.backbone"):
        return _about_backbones(facts(result.cell), result.cell)
    if name.startswith(("share.", "memory.")) and result.breakdown is not None:
        return _who_holds(result.breakdown, oom=result.oom is not None)
    if expectation.quantity.kind == BYTES and not isinstance(value, str):
        return held_in_other_unit(expectation.expected, expectation.quantity, value)
    return ""


def _by_component(facts: PolicyFacts) -> str:
    counts: dict[str, int] = {}
    for parameter in facts.parameters:
        if not parameter.is_buffer:
            counts[parameter.component] = counts.get(parameter.component, 0) + parameter.count
    return ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in largest_first(counts).items())


def _about_backbones(facts: PolicyFacts, cell: Cell) -> str:
    found = resnets(facts)
    if len(found) != 1 or cell.cameras == 1:
        return f"the policy's ResNets are {', '.join(found)}" if found else "the policy has no ResNet"
    count = sum(p.count for p in facts.parameters if p.path.startswith(found[0]) and not p.is_buffer)
    return f"the {cell.cameras} cameras share one ResNet, {found[0]}, of {count:,} parameters"


def _who_holds(breakdown: Breakdown, *, oom: bool) -> str:
    """Return the largest holders: the groups of activations, everything else by kind."""
    shares = [
        f"{_holder_name(holder)} {100 * holder.bytes / breakdown.allocated_bytes:.0f} %"
        for holder in rank_holders(breakdown.by_kind, breakdown.activations, by_group=True)[:_MOST_NAMED]
    ]
    return f"{'where it runs out' if oom else 'at the peak'}: {', '.join(shares)}"


def _holder_name(holder: Holder) -> str:
    if not holder.component:
        return holder.kind
    return holder.group if holder.group == holder.component else f"{holder.group} of the {holder.component}"
