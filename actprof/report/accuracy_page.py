"""The page of the accuracy ledger: how true predictions are, the figures behind that, and every row.

One file that opens without a network; it shares its look and its scripts with the report of a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.analysis.accuracy import NUMBERS
from actprof.files import write_whole
from actprof.report.accuracy_figures import (
    COLOURS,
    SYMBOLS,
    devices_of,
    draw_errors,
    draw_scatter,
    numbers_of,
)
from actprof.report.templating import templates
from actprof.report.words import (
    NARROW_SPACE,
    VERDICT_WORDS,
    capital,
    difference_text,
    join,
    plural,
    predict_command,
    spell,
)
from actprof.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from actprof.analysis.accuracy import Accuracy, AccuracyRow, Errors, Figures, Matches

NOTHING = "\u2013"  # where a row has no such number
_WORDS = {**VERDICT_WORDS, "ran": "ran"}
_ENOUGH = 3  # rows from which on a median means something


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
    differences: tuple[tuple[str, str, bool], ...]  # size, percentage, unexplained
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
    figures = {"scatter": draw_scatter(found.rows), "errors": draw_errors(found.rows)} if numbers else {}
    page = {
        "found": found,
        "lead": lead(found),
        "alarms": _alarms(found),
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


# -- words ---------------------------------------------------------------------------------------------


def lead(found: Accuracy) -> str:
    """Return the one sentence that matters most, of as many rows as there are."""
    if not found.rows:
        return "No run has been compared with its prediction yet."
    said = [_say_allocated(found.allocated), _say_verdicts(found)]
    return " ".join(sentence for sentence in said if sentence) or (
        f"{capital(spell(len(found.rows)))} {plural(len(found.rows), 'row')}, of which none can be compared."
    )


def _say_allocated(errors: Errors) -> str:
    if errors.worst_percent is None or errors.median_percent is None:
        return "Allocated memory has not been compared with a real run yet."
    worst = percent_text(errors.worst_percent)
    runs = f"{spell(errors.n)} {plural(errors.n, 'run')}"
    if errors.n < _ENOUGH:
        return f"In {runs}, predicted allocated memory is within {worst} of what was measured."
    median = percent_text(errors.median_percent)
    return f"Over {runs}, predicted allocated memory is {median} off in the median, and {worst} at worst."


def _say_verdicts(found: Accuracy) -> str:
    verdicts = found.verdicts
    wrong = len(verdicts.said_runs_ran_out)
    if wrong:
        return f"{capital(spell(wrong))} {plural(wrong, 'run')} that was said to fit ran out of memory."
    if not verdicts.n:
        return ""
    if verdicts.n == verdicts.agree:
        return f"{capital(spell(verdicts.n))} of {spell(verdicts.n)} ran, or ran out, as they were said to."
    return f"No run that was said to fit ran out; {spell(len(verdicts.said_oom_ran))} said to run out ran."


def _alarms(found: Accuracy) -> list[str]:
    rows = found.verdicts.said_runs_ran_out
    return [f"Said to fit, and ran out of memory: {row.name}." for row in rows]


def percent_text(percent: float) -> str:
    """Return a percentage without sign, as fine as it is worth: `0.014 %`, `1.99 %`, `12.3 %`."""
    digits = 3 if percent < 0.1 else 2 if percent < 10 else 1
    return f"{percent:.{digits}f}{NARROW_SPACE}%"


# -- tiles ---------------------------------------------------------------------------------------------


def _tiles(found: Accuracy) -> list[Tile]:
    verdicts = found.verdicts
    wrong = len(verdicts.said_runs_ran_out)
    counts = (
        f"said to fit, ran out: {wrong}",
        f"said to run out, ran: {len(verdicts.said_oom_ran)}",
    )
    agree = f"{verdicts.agree} of {verdicts.n}" if verdicts.n else NOTHING
    return [
        *(_error_tile(number, getattr(found, number)) for number in NUMBERS),
        _error_tile("seconds of a step", found.step),
        Tile("Ran or ran out as said", agree, counts, "bad" if wrong else ""),
        _match_tile("Largest batch size exact", found.boundaries, _signed),
        _match_tile("Bytes tried to allocate", found.tried, _signed_bytes),
    ]


def _error_tile(number: str, errors: Errors) -> Tile:
    if errors.median_percent is None or errors.p95_percent is None or errors.worst_percent is None:
        return Tile(f"{capital(number)}, median", NOTHING, ("no row has both",))
    notes = (
        f"95{NARROW_SPACE}% within {percent_text(errors.p95_percent)}",
        f"worst {percent_text(errors.worst_percent)}",
        f"{errors.n} {plural(errors.n, 'row')}",
    )
    return Tile(f"{capital(number)}, median", percent_text(errors.median_percent), notes)


def _match_tile(title: str, matches: Matches, show: Any) -> Tile:
    if not matches.n:
        return Tile(title, NOTHING, ("no row has both",))
    off = matches.exact < matches.n
    notes = (f"worst {show(matches.worst_difference)}",) if off else ("exact in every row",)
    return Tile(title, f"{matches.exact} of {matches.n}", notes)


# -- the table -----------------------------------------------------------------------------------------


def _line(row: AccuracyRow) -> Line:
    boundary = row.batch_size_difference
    prediction = predict_command(row.cell)
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


def _difference(row: AccuracyRow, number: str) -> tuple[str, str, bool]:
    size, measured = row.difference_bytes(number), getattr(row.measured, f"{number}_bytes")
    if size is None:
        return NOTHING, "", False
    return _signed_bytes(size), difference_text(size, measured), number in row.unexplained


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
        "allocated": "allocated_bytes", "reserved": "reserved_bytes", "process": "process_bytes",
        "largest batch size": "max_batch_size", "verdict": "verdict",
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
    if not name.endswith("_bytes"):
        return _WORDS.get(value, str(value))
    digits = 2 if resolution else 3
    text = format_bytes(value, digits=digits)
    return f"{text} \u00b1 {format_bytes(resolution)}" if resolution else text


def _facts(row: AccuracyRow) -> tuple[tuple[str, str], ...]:
    overrides = ", ".join(f"{name}={value}" for name, value in sorted(row.cell.overrides.items()))
    facts = {
        "Cause of the difference": row.notes,
        "Source": row.source,
        "Date": row.date,
        "Versions": ", ".join(_versions(row)),
        "Policy's config": overrides,
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _versions(row: AccuracyRow) -> Sequence[str]:
    return [f"{name} {version}" for name, version in sorted(row.versions.items())]
