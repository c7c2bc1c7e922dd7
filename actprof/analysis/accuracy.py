"""How true predictions are: what all rows of the accuracy ledger say together.

A row is one run, predicted and measured (`accuracy_row.py`); the summary is made of rows alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from actprof.analysis.accuracy_row import NUMBERS, AccuracyRow, Figures, figures_of, row_of

__all__ = [
    "NUMBERS",
    "Accuracy",
    "AccuracyRow",
    "Errors",
    "Figures",
    "Matches",
    "Verdicts",
    "figures_of",
    "row_of",
    "summarise",
    "worst_first",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Differences of one number over all rows that have it, in percent without sign.

    Attributes:
        n: rows that have it; the others are None without any.
        p95_percent: the smallest difference that at least 95 % of the rows do not exceed (nearest rank); of
            fewer than twenty rows it is the largest.
        worst: the row with the largest difference.
    """

    n: int
    median_percent: float | None = None
    p95_percent: float | None = None
    worst_percent: float | None = None
    worst: AccuracyRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Whole figures that are either met or not: largest batch sizes, or bytes tried to allocate.

    Attributes:
        n: rows that have one.
        exact: of them, predicted exactly.
        worst_difference: the largest difference, with its sign.
        worst: its row.
    """

    n: int
    exact: int = 0
    worst_difference: int = 0
    worst: AccuracyRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Rows of which it is known whether they ran, and what was said: n of them, and those that disagree."""

    n: int
    agree: int
    said_runs_ran_out: tuple[AccuracyRow, ...]
    said_oom_ran: tuple[AccuracyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What all rows say together.

    Attributes:
        rows: all of them, the worst first.
        allocated, reserved, process, step: differences in percent; of the step, in its seconds.
        boundaries: of the largest batch sizes.
        tried: of the bytes that the out-of-memory messages name.
        unexplained: rows with a difference that nobody has explained.
        changed: rows whose stored prediction was another than that of the present code; only known where
            they were predicted again.
    """

    rows: tuple[AccuracyRow, ...]
    allocated: Errors
    reserved: Errors
    process: Errors
    step: Errors
    boundaries: Matches
    tried: Matches
    verdicts: Verdicts
    unexplained: tuple[AccuracyRow, ...]
    changed: tuple[AccuracyRow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: `rows` in full, with their differences; elsewhere a row is named."""
        parts = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        return {**parts, "rows": [_row_json(row) for row in self.rows]}


def summarise(rows: Iterable[AccuracyRow]) -> Accuracy:
    """Return what the rows say together."""
    ordered = worst_first(rows)
    known = [row for row in ordered if row.verdict_agrees is not None]
    return Accuracy(
        rows=ordered,
        allocated=_errors(ordered, lambda row: row.difference_percent("allocated")),
        reserved=_errors(ordered, lambda row: row.difference_percent("reserved")),
        process=_errors(ordered, lambda row: row.difference_percent("process")),
        step=_errors(ordered, lambda row: row.step_percent),
        boundaries=_matches(ordered, lambda row: row.batch_size_difference),
        tried=_matches(ordered, lambda row: row.difference_bytes("tried")),
        verdicts=Verdicts(
            n=len(known),
            agree=sum(row.verdict_agrees is True for row in known),
            said_runs_ran_out=tuple(row for row in known if row.said_runs_ran_out),
            said_oom_ran=tuple(row for row in known if row.said_oom_ran),
        ),
        unexplained=tuple(row for row in ordered if row.unexplained),
    )


def worst_first(rows: Iterable[AccuracyRow]) -> tuple[AccuracyRow, ...]:
    """Return wrong verdicts first, those that were said to fit before all; then by the largest percentage."""
    return tuple(
        sorted(rows, key=lambda row: (-row.said_runs_ran_out, -row.said_oom_ran, -row.worst_percent, row.key))
    )


def _errors(rows: Sequence[AccuracyRow], of: Callable[[AccuracyRow], float | None]) -> Errors:
    known = [(abs(percent), row) for row in rows if (percent := of(row)) is not None]
    if not known:
        return Errors(n=0)
    values = sorted(value for value, _ in known)
    worst_percent, worst = max(known, key=lambda pair: pair[0])
    return Errors(
        n=len(known),
        median_percent=statistics.median(values),
        p95_percent=values[math.ceil(0.95 * len(values)) - 1],
        worst_percent=worst_percent,
        worst=worst,
    )


def _matches(rows: Sequence[AccuracyRow], of: Callable[[AccuracyRow], int | None]) -> Matches:
    known = [(difference, row) for row in rows if (difference := of(row)) is not None]
    if not known:
        return Matches(n=0)
    worst_difference, worst = max(known, key=lambda pair: abs(pair[0]))
    exact = sum(difference == 0 for difference, _ in known)
    return Matches(n=len(known), exact=exact, worst_difference=worst_difference, worst=worst)


def _row_json(row: AccuracyRow) -> dict[str, Any]:
    numbers = (*NUMBERS, "tried")
    return {
        "name": row.name,
        **row.to_json(),
        "difference_bytes": {number: row.difference_bytes(number) for number in numbers},
        "difference_percent": {number: row.difference_percent(number) for number in numbers}
        | {"step": row.step_percent},
        "verdict_agrees": row.verdict_agrees,
        "unexplained": list(row.unexplained),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, AccuracyRow):
        return value.name
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Errors | Matches | Verdicts):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value
