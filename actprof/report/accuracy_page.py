"""The page of the accuracy ledger: how true predictions are, the figures behind that, and every row.

One file that opens without a network; it shares its look and its scripts with the report of a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.files import write_whole
from actprof.ledger.comparison import NUMBERS
from actprof.report.accuracy_figures import (
    COLOURS,
    SYMBOLS,
    devices_of,
    draw_errors,
    draw_scatter,
    numbers_of,
)
from actprof.report.accuracy_words import lead, more, percent_text, shared_words, short_name
from actprof.report.templating import templates
from actprof.units import GIB, format_bytes, format_seconds
from actprof.words import (
    NARROW_SPACE,
    VERDICT_WORDS,
    capital,
    difference_text,
    join,
    plural,
    predict_command,
)

if TYPE_CHECKING:
    from actprof.ledger.accuracy import Accuracy, Matches
    from actprof.ledger.comparison import Figures
    from actprof.ledger.kinds import Bands, Errors, Repeats
    from actprof.ledger.row import AccuracyRow

NOTHING = "\u2013"  # where a row has no such number
_WORDS = {**VERDICT_WORDS, "ran": "ran"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the summary, what it is of, and what stands beside it."""

    title: str
    value: str
    notes: tuple[str, ...]
    state: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: texts by column, and what unfolds below it."""

    name: str
    differences: tuple[tuple[str, str, str, bool], ...]  # size, percentage, what the band says, unexplained
    step: str
    boundary: str
    said: str
    was: str
    is_wrong: bool
    figures: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]


def render_accuracy(found: Accuracy) -> str:
    """Return the page as HTML text."""
    numbers = numbers_of(found.rows)
    shared = shared_words([one.row for one in found.repeats]) if found.repeats else ()
    figures = {"scatter": draw_scatter(found.rows), "errors": draw_errors(found.rows)} if numbers else {}
    page = {
        "found": found,
        "lead": lead(found),
        "more": more(found),
        "alarms": [f"{title}: {row.name}." for title, rows in _alarms(found).items() for row in rows],
        "kinds": {number: _kind_lines(found, number) for number in ("allocated", "reserved")},
        "shared": shared,
        "repeats": [_repeat_line(one, shared) for one in found.repeats],
        "tiles": _tiles(found),
        "figures": figures,
        "numbers": numbers,
        "has_steps": bool(found.step.n),
        "devices": devices_of(found.rows),
        "symbols": SYMBOLS,
        "colours": COLOURS,
        "columns": NUMBERS,
        "lines": [_line(row) for row in found.rows],
        "words": _WORDS,
        "own": sum(row.origin == "measured" for row in found.rows),
        "unexplained": [(row.name, _list_differences(row)) for row in found.unexplained],
        "worst_boundary": _signed(found.boundaries.worst_difference),
        "nothing": NOTHING,
    }
    return templates().get_template("accuracy.html.j2").render(**page)


def write_accuracy_page(found: Accuracy, path: str | Path) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Raises:
        StoreError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, render_accuracy(found).encode())
    return target


# -- tiles ---------------------------------------------------------------------------------------------


def _alarms(found: Accuracy) -> dict[str, tuple[AccuracyRow, ...]]:
    verdicts = found.verdicts
    return {
        "Said to run, and ran out of memory": verdicts.said_runs_ran_out,
        "Said to surely fit, and ran out of memory": verdicts.sure_ran_out,
    }


def _tiles(found: Accuracy) -> list[Tile]:
    verdicts = found.verdicts
    wrong = len(verdicts.said_runs_ran_out) + len(verdicts.sure_ran_out)
    counts = (
        f"said to run, ran out: {len(verdicts.said_runs_ran_out)}",
        f"said to surely fit, ran out: {len(verdicts.sure_ran_out)}",
        f"said to run out, ran: {len(verdicts.said_oom_ran)}",
    )
    agree = f"{verdicts.agree} of {verdicts.n}" if verdicts.n else NOTHING
    return [
        *(_error_tile(number, getattr(found, number)) for number in NUMBERS),
        _band_tile("Reserved within its band", found.reserved_band),
        _error_tile("seconds of a step", found.step),
        Tile("Ran or ran out as said", agree, counts, "bad" if wrong else ""),
        _match_tile("Largest batch size exact", found.boundaries, _signed),
        _match_tile("Bytes tried to allocate", found.tried, _signed_bytes),
    ]


def _band_tile(title: str, bands: Bands) -> Tile:
    if bands.width_percent is None:
        return Tile(title, NOTHING, ("no row has both",))
    notes = (f"the band is {percent_text(bands.width_percent)} wide in the median",)
    return Tile(title, f"{bands.held} of {bands.n}", notes)


def _error_tile(number: str, errors: Errors) -> Tile:
    if errors.median_percent is None or errors.p95_percent is None or errors.worst_percent is None:
        return Tile(f"{capital(number)}, median", NOTHING, ("no row has both",))
    rows = f"{errors.n} {plural(errors.n, 'row')}"
    notes = (
        f"exact in {errors.exact} of {rows}" if errors.exact else rows,
        f"95{NARROW_SPACE}% within {percent_text(errors.p95_percent)}",
        f"worst {percent_text(errors.worst_percent)}",
    )
    return Tile(f"{capital(number)}, median", percent_text(errors.median_percent), notes)


def _match_tile(title: str, matches: Matches, show: Any) -> Tile:
    if not matches.n:
        return Tile(title, NOTHING, ("no row has both",))
    off = matches.exact < matches.n
    notes = (f"worst {show(matches.worst_difference)}",) if off else ("exact in every row",)
    return Tile(title, f"{matches.exact} of {matches.n}", notes)


# -- kinds of runs, and repeated ones ------------------------------------------------------------------


def _kind_lines(found: Accuracy, number: str) -> list[tuple[str, ...]]:
    """Return a row of texts for each kind of run that has `number`."""
    known = [(kind.title, getattr(kind, number), getattr(kind, f"{number}_band")) for kind in found.kinds]
    return [
        (capital(title), str(errors.n), str(errors.exact), *_percents(errors), *_held(bands))
        for title, errors, bands in known
        if errors.n
    ]


def _percents(errors: Errors) -> tuple[str, str]:
    return percent_text(errors.median_percent or 0.0), percent_text(errors.worst_percent or 0.0)


def _held(bands: Bands) -> tuple[str, str]:
    if bands.width_percent is None:
        return NOTHING, NOTHING
    return f"{bands.held} of {bands.n}", percent_text(bands.width_percent)


def _repeat_line(one: Repeats, shared: Sequence[str]) -> tuple[str, ...]:
    ranges = (one.allocated, one.reserved, one.row.band("reserved"))
    return short_name(one.row, shared), str(one.n), *map(_range, ranges)


def _range(ends: tuple[int, int] | None) -> str:
    return NOTHING if ends is None else " to ".join(f"{end / GIB:.3f}" for end in ends)


# -- the table -----------------------------------------------------------------------------------------


def _line(row: AccuracyRow) -> Line:
    boundary = row.batch_size_difference
    # no command holds another card to that room; the ledger does
    prediction = "actprof accuracy --refresh" if row.held_to_bytes else predict_command(row.cell)
    own = [("The measurement", row.command)] if row.command not in ("", prediction) else []
    return Line(
        name=row.name,
        differences=tuple(_difference(row, number) for number in NUMBERS),
        step=NOTHING if row.step_percent is None else difference_text(row.step_percent, 100),
        boundary=NOTHING if boundary is None else _signed(boundary) if boundary else "exact",
        said=row.predicted.verdict if row.verdict_agrees is not None else "",
        was=row.measured.verdict if row.verdict_agrees is not None else "",
        is_wrong=row.verdict_agrees is False,
        figures=_figures(row),
        facts=_facts(row),
        commands=(*own, ("The prediction", prediction)),
    )


def _difference(row: AccuracyRow, number: str) -> tuple[str, str, str, bool]:
    size, measured = row.difference_bytes(number), getattr(row.measured, f"{number}_bytes")
    if size is None:
        return NOTHING, "", "", False
    inside = "in the band" if size and row.band_holds(number) else ""
    return _signed_bytes(size), difference_text(size, measured), inside, number in row.unexplained


def _signed(count: int) -> str:
    return f"{count:+d}".replace("-", "\u2212")


def _signed_bytes(size: int) -> str:
    sign = "" if not size else "\u2212" if size < 0 else "+"
    return f"{sign}{format_bytes(abs(size))}"


def _list_differences(row: AccuracyRow) -> str:
    parts = ((number, *_difference(row, number)[:2]) for number in row.unexplained)
    return join(f"{number} {size} ({percent})" for number, size, percent in parts)


def _figures(row: AccuracyRow) -> tuple[tuple[str, str, str], ...]:
    """Return (name, predicted, measured) of all figures that at least one side has."""
    names = {
        "allocated": "allocated_bytes", "allocated, of repeated runs": "allocated_band_bytes",
        "reserved": "reserved_bytes", "reserved, of repeated runs": "reserved_band_bytes",
        "process": "process_bytes", "largest batch size": "max_batch_size",
        "largest that surely fits": "surely_fits_batch_size", "verdict": "verdict",
        "tried to allocate": "tried_bytes", "in use when it ran out": "in_use_bytes",
        "seconds of a step": "step_seconds",
    }  # fmt: skip
    shown = (
        (title, _figure(row.predicted, name), _figure(row.measured, name, _open_bytes(row, name)))
        for title, name in names.items()
    )
    return tuple(line for line in shown if line[1:] != (NOTHING, NOTHING))


def _open_bytes(row: AccuracyRow, name: str) -> int:
    return row.resolution_bytes.get(name.removesuffix("_bytes"), 0)


def _figure(figures: Figures, name: str, resolution: int = 0) -> str:
    value = getattr(figures, name)
    if value in (None, ""):
        return NOTHING
    if name == "step_seconds":
        return format_seconds(value)
    if name.endswith("_band_bytes"):
        return " to ".join(format_bytes(end, digits=3) for end in value)
    if not name.endswith("_bytes"):
        return _WORDS.get(value, str(value))
    digits = 2 if resolution else 3
    text = format_bytes(value, digits=digits)
    return f"{text} \u00b1 {format_bytes(resolution)}" if resolution else text


def _facts(row: AccuracyRow) -> tuple[tuple[str, str], ...]:
    facts = {
        "Cause of the difference": row.notes,
        "Source": row.source,
        "Date": row.date,
        "Versions": ", ".join(_versions(row)),
        "Run": row.run,
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _versions(row: AccuracyRow) -> Sequence[str]:
    return [f"{name} {version}" for name, version in sorted(row.versions.items())]
