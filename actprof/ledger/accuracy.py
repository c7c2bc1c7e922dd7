"""How true predictions are: what all rows of the accuracy ledger say together; made of rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from actprof.ledger.comparison import NUMBERS
from actprof.ledger.kinds import (
    Bands,
    Errors,
    Kind,
    Repeats,
    bands_of,
    errors_by,
    errors_of,
    kinds_of,
    repeats_of,
)
from actprof.ledger.row import AccuracyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Whole figures that are either met or not: largest batch sizes, or bytes tried to allocate.

    Attributes:
        n: rows that have one.
        exact: of them, predicted exactly.
        within_one: of them, off by at most one.
        worst_difference: the largest difference, with its sign.
        worst: its row.
    """

    n: int
    exact: int = 0
    within_one: int = 0
    worst_difference: int = 0
    worst: AccuracyRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Rows of which it is known whether they ran, and what was said: n of them, and those that disagree.

    Attributes:
        said_runs_ran_out: said to fit or to be tight.
        sure: rows that tell whether the batch size that was said to fit surely does.
        sure_ran_out: of them, those that say that it does not.
    """

    n: int
    agree: int
    said_runs_ran_out: tuple[AccuracyRow, ...]
    said_oom_ran: tuple[AccuracyRow, ...]
    sure: int = 0
    sure_ran_out: tuple[AccuracyRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What all rows say together.

    Attributes:
        rows: all of them, the worst first.
        allocated, reserved, process, step: differences in percent; of the step, in its seconds, and of the
            process what lies beyond the band of its reserved bytes.
        kinds: the peaks of each kind of run.
        allocated_band, reserved_band: of all rows that have one.
        repeats: commands that were measured more than once.
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
    kinds: tuple[Kind, ...]
    allocated_band: Bands
    reserved_band: Bands
    repeats: tuple[Repeats, ...]
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
        allocated=errors_of(ordered, "allocated"),
        reserved=errors_of(ordered, "reserved"),
        process=errors_by(ordered, lambda row: row.beyond_band_percent("process")),
        step=errors_by(ordered, lambda row: row.step_percent),
        kinds=kinds_of(ordered),
        allocated_band=bands_of(ordered, "allocated"),
        reserved_band=bands_of(ordered, "reserved"),
        repeats=repeats_of(ordered),
        boundaries=_matches(ordered, lambda row: row.batch_size_difference),
        tried=_matches(ordered, lambda row: row.difference_bytes("tried")),
        verdicts=Verdicts(
            n=len(known),
            agree=sum(row.verdict_agrees is True for row in known),
            said_runs_ran_out=tuple(row for row in known if row.said_runs_ran_out),
            said_oom_ran=tuple(row for row in known if row.said_oom_ran),
            sure=sum(row.surely_ran_out is not None for row in ordered),
            sure_ran_out=tuple(row for row in ordered if row.surely_ran_out),
        ),
        unexplained=tuple(row for row in ordered if row.unexplained),
    )


def worst_first(rows: Iterable[AccuracyRow]) -> tuple[AccuracyRow, ...]:
    """Return wrong verdicts first, those that were said to fit before all; then by the largest percentage.

    What the band of repeated runs holds does not count as a difference.
    """

    def place(row: AccuracyRow) -> tuple[float | str, ...]:
        return -row.said_runs_ran_out, -row.said_oom_ran, -row.worst_percent, row.name, row.run

    return tuple(sorted(rows, key=place))


def _matches(rows: Sequence[AccuracyRow], of: Callable[[AccuracyRow], int | None]) -> Matches:
    known = [(difference, row) for row in rows if (difference := of(row)) is not None]
    if not known:
        return Matches(n=0)
    worst_difference, worst = max(known, key=lambda pair: abs(pair[0]))
    return Matches(
        n=len(known),
        exact=sum(difference == 0 for difference, _ in known),
        within_one=sum(abs(difference) <= 1 for difference, _ in known),
        worst_difference=worst_difference,
        worst=worst,
    )


def _row_json(row: AccuracyRow) -> dict[str, Any]:
    numbers = (*NUMBERS, "tried")
    return {
        "name": row.name,
        **row.to_json(),
        "difference_bytes": {number: row.difference_bytes(number) for number in numbers},
        "difference_percent": {number: row.difference_percent(number) for number in numbers}
        | {"step": row.step_percent},
        "band_holds": {number: row.band_holds(number) for number in ("allocated", "reserved")},
        "verdict_agrees": row.verdict_agrees,
        "unexplained": list(row.unexplained),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, AccuracyRow):
        return value.name
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Bands | Errors | Kind | Matches | Repeats | Verdicts):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value
