"""Rows of the accuracy ledger by the kind of run: how far off, how often inside the band, how far apart.

Whether cuDNN chooses its plans by time (lerobot's default) decides whether a run has one figure at all, and
whether segments are expandable decides whether what is left of a block counts as allocated. So the kinds are
kept apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from actprof.ledger.comparison import Range
from actprof.ledger.row import PASSES_ONLY, AccuracyRow

_TWICE = 2  # runs of a command from which on they have a spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Differences of one number over all rows that have it, in percent without sign.

    Attributes:
        n: rows that have it; the others are None without any.
        exact: of them, those that differ by no byte, or by no more than published digits leave open.
        p95_percent: the smallest difference that at least 95 % of the rows do not exceed (nearest rank); of
            fewer than twenty rows it is the largest.
        worst: the row with the largest difference.
    """

    n: int
    exact: int = 0
    median_percent: float | None = None
    p95_percent: float | None = None
    worst_percent: float | None = None
    worst: AccuracyRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Predicted bands of one number: n rows that have one and were measured.

    Attributes:
        held: of them, those whose measurement lies inside.
        width_percent: of what was measured, in the median.
        outside: the rows whose measurement does not lie inside.
    """

    n: int
    held: int = 0
    width_percent: float | None = None
    outside: tuple[AccuracyRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The rows of one kind: the same origin, allocator and choice of cuDNN's plans; passes alone apart."""

    title: str
    origin: str
    expandable: bool
    deterministic: bool
    allocated: Errors
    reserved: Errors
    allocated_band: Bands
    reserved_band: Bands


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """One command that was measured n times on the same kind of device: how far apart it came out.

    Attributes:
        row: one of its rows; all have the same prediction.
        allocated, reserved: (lowest, highest) bytes measured.
    """

    row: AccuracyRow
    n: int
    allocated: Range
    reserved: Range


def kinds_of(rows: Iterable[AccuracyRow]) -> tuple[Kind, ...]:
    """Return the kinds of which there are memory peaks: own before published, expandable and fixed first."""
    groups: dict[tuple[str, bool, bool, bool], list[AccuracyRow]] = {}
    for row in rows:
        if any(row.difference_bytes(number) is not None for number in ("allocated", "reserved")):
            kind = row.origin, row.passes, not row.expandable, row.cell.cudnn_benchmark
            groups.setdefault(kind, []).append(row)
    return tuple(
        Kind(
            title=_title(origin, passes=passes, native=native, benchmark=benchmark),
            origin=origin,
            expandable=not native,
            deterministic=not benchmark,
            allocated=errors_of(group, "allocated"),
            reserved=errors_of(group, "reserved"),
            allocated_band=bands_of(group, "allocated"),
            reserved_band=bands_of(group, "reserved"),
        )
        for (origin, passes, native, benchmark), group in sorted(groups.items())
    )


def _title(origin: str, *, passes: bool, native: bool, benchmark: bool) -> str:
    words = ["native" if native else "expandable", "benchmark" if benchmark else "deterministic"]
    words += [PASSES_ONLY] if passes else []
    return ", ".join(words if origin == "measured" else [*words, origin])


def repeats_of(rows: Iterable[AccuracyRow]) -> tuple[Repeats, ...]:
    """Return the commands that were measured at least twice and had one reserved figure each, by name."""
    groups: dict[tuple[object, ...], list[AccuracyRow]] = {}
    for row in rows:
        if row.measured.reserved_bytes is not None and row.measured.allocated_bytes is not None:
            groups.setdefault(row.command_key, []).append(row)
    repeated = sorted((group for group in groups.values() if len(group) >= _TWICE), key=lambda g: g[0].name)
    return tuple(
        Repeats(
            row=group[0],
            n=len(group),
            allocated=_range(row.measured.allocated_bytes or 0 for row in group),
            reserved=_range(row.measured.reserved_bytes or 0 for row in group),
        )
        for group in repeated
    )


def _range(values: Iterable[int]) -> Range:
    known = list(values)
    return min(known), max(known)


def bands_of(rows: Iterable[AccuracyRow], number: str) -> Bands:
    """Return how often the band of a number held what was measured."""
    known = [(row, held) for row in rows if (held := row.band_holds(number)) is not None]
    if not known:
        return Bands(n=0)
    return Bands(
        n=len(known),
        held=sum(held for _, held in known),
        width_percent=statistics.median(_width_percent(row, number) for row, _ in known),
        outside=tuple(row for row, held in known if not held),
    )


def _width_percent(row: AccuracyRow, number: str) -> float:
    low, high = row.band(number) or (0, 0)
    measured: int = getattr(row.measured, f"{number}_bytes")
    return 100 * (high - low) / measured


def errors_of(rows: Sequence[AccuracyRow], number: str) -> Errors:
    """Return how far a number in bytes is off."""
    errors = errors_by(rows, lambda row: row.difference_percent(number))
    return replace(errors, exact=sum(row.is_exact(number) for row in rows))


def errors_by(rows: Sequence[AccuracyRow], of: Callable[[AccuracyRow], float | None]) -> Errors:
    """Return what the percentages that `of` gives say together."""
    known = [(abs(percent), row) for row in rows if (percent := of(row)) is not None]
    if not known:
        return Errors(n=0)
    values = sorted(value for value, _ in known)
    worst_percent, worst = max(known, key=lambda pair: pair[0])
    return Errors(
        n=len(known),
        exact=sum(value == 0 for value in values),
        median_percent=statistics.median(values),
        p95_percent=values[math.ceil(0.95 * len(values)) - 1],
        worst_percent=worst_percent,
        worst=worst,
    )
