"""The page of the accuracy ledger: how true predictions are, the figures behind that, and every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actprof.ledger.accuracy import Accuracy, Matches
from actprof.ledger.comparison import NUMBERS, Figures
from actprof.ledger.kinds import Errors, Repeats
from actprof.ledger.row import AccuracyRow
from actprof.report.accuracy_figures import (
    COLOURS,
    SYMBOLS,
    devices_of,
    draw_errors,
    draw_scatter,
    numbers_of,
)
from actprof.report.accuracy_words import lead, more, percent_text, shared_words, short_name
from actprof.report.page import Plots, render
from actprof.report.parts import NOTHING, Entry, Row, Table, Tile, columns, rows
from actprof.units import GIB, format_bytes, format_seconds
from actprof.words import (
    NARROW_SPACE,
    VERDICT_WORDS,
    capital,
    cell_command,
    difference_text,
    join,
    plural,
)

_MISSING = ("no row has both",)


def render_accuracy(found: Accuracy) -> str:
    """Return the page as HTML text."""
    numbers = numbers_of(found.rows)
    shared = shared_words([one.row for one in found.repeats])
    said = {"run": found.verdicts.said_runs_ran_out, "surely fit": found.verdicts.sure_ran_out}
    figures = Plots()
    scatter = errors = None
    if numbers:
        label = "Predicted over measured GiB; the table of all rows has the figures"
        scatter = figures.add(draw_scatter(found.rows), "Predicted by measured", label, "scatter")
        label = "How many rows are how many percent off; the table of all rows has the figures"
        errors = figures.add(draw_errors(found.rows), "Rows by difference", label, "errors")
    devices = [(f"{gpu}, {origin}", colour) for (origin, gpu), colour in devices_of(found.rows).items()]
    return render(
        "accuracy",
        figures,
        found=found,
        lead=lead(found),
        more=more(found),
        alarms=[f"Said to {what}, and ran out of memory: {row.name}." for what in said for row in said[what]],
        kinds=[table for number in ("allocated", "reserved") if (table := _table_kinds(found, number)).rows],
        repeats=_table_repeats(found.repeats, shared) if found.repeats else None,
        shared=shared,
        tiles=_tiles(found),
        scatter=scatter,
        errors=errors,
        scatter_key=[*devices, *((number, "", f"outline {SYMBOLS[number]}") for number in numbers)],
        errors_key=[(number, COLOURS[number]) for number in numbers],
        rows=_table_rows(found),
        own=sum(row.origin == "measured" for row in found.rows),
        unexplained=[f"{row.name}: {_list_differences(row)}" for row in found.unexplained],
        worst_boundary=_signed(found.boundaries.worst_difference),
    )


# -- tiles ---------------------------------------------------------------------------------------------


def _tiles(found: Accuracy) -> list[Tile]:
    verdicts, band = found.verdicts, found.reserved_band
    counts = {
        "said to run, ran out": len(verdicts.said_runs_ran_out),
        "said to surely fit, ran out": len(verdicts.sure_ran_out),
        "said to run out, ran": len(verdicts.said_oom_ran),
    }
    wrong = verdicts.said_runs_ran_out or verdicts.sure_ran_out
    agree = f"{verdicts.agree} of {verdicts.n}" if verdicts.n else NOTHING
    notes = tuple(f"{name}: {count}" for name, count in counts.items())
    wide = f"the band is {percent_text(band.width_percent or 0.0)} wide in the median"
    return [
        *(_error_tile(number, getattr(found, number)) for number in NUMBERS if number != "process"),
        _error_tile("process beyond its band", found.process, "in it or exact"),
        _count_tile("Reserved within its band", band.held, band.n, wide),
        _error_tile("seconds of a step", found.step),
        Tile("Ran or ran out as said", agree, notes, "bad" if wrong else ""),
        _match_tile("Largest batch size exact", found.boundaries, _signed),
        _match_tile("Bytes tried to allocate", found.tried, _signed_bytes),
    ]


def _count_tile(title: str, part: int, count: int, note: str) -> Tile:
    return Tile(title, f"{part} of {count}", (note,)) if count else Tile(title, NOTHING, _MISSING)


def _match_tile(title: str, matches: Matches, show: Callable[[int], str]) -> Tile:
    off = matches.exact < matches.n
    note = f"worst {show(matches.worst_difference)}" if off else "exact in every row"
    return _count_tile(title, matches.exact, matches.n, note)


def _error_tile(number: str, errors: Errors, exact: str = "exact") -> Tile:
    """Return a tile of differences; `exact` is what a row without one is."""
    title = f"{capital(number)}, median"
    if not errors.n:
        return Tile(title, NOTHING, _MISSING)
    rows = f"{errors.n} {plural(errors.n, 'row')}"
    notes = (
        f"{exact} in {errors.exact} of {rows}" if errors.exact else rows,
        f"95{NARROW_SPACE}% within {_percent(errors.p95_percent)}",
        f"worst {_percent(errors.worst_percent)}",
    )
    return Tile(title, _percent(errors.median_percent), notes)


# -- kinds of runs, and repeated ones ------------------------------------------------------------------


def _table_kinds(found: Accuracy, number: str) -> Table:
    """Return a row for each kind of run that has `number`."""
    known = [(kind.title, getattr(kind, number), getattr(kind, f"{number}_band")) for kind in found.kinds]
    lines = [
        (
            capital(title), str(errors.n), str(errors.exact), _percent(errors.median_percent),
            _percent(errors.worst_percent), f"{bands.held} of {bands.n}" if bands.n else NOTHING,
            _percent(bands.width_percent),
        )
        for title, errors, bands in known
        if errors.n
    ]  # fmt: skip
    heads = columns("Runs", numbers=("Rows", "Exact", "Median", "Worst", "In the band", "Band's width"))
    return Table(f"{capital(number)} memory by kind of run", heads, rows(lines), css="cells")


def _percent(percent: float | None) -> str:
    return NOTHING if percent is None else percent_text(percent)


def _table_repeats(repeats: Sequence[Repeats], shared: Sequence[str]) -> Table:
    lines = [
        (
            Entry(short_name(one.row, shared), "run"), str(one.n),
            *map(_range, (one.allocated, one.reserved, one.row.band("reserved"))),
        )
        for one in repeats
    ]  # fmt: skip
    heads = columns("Command", numbers=("Runs", "Allocated", "Reserved", "Predicted band"))
    return Table("Commands that were measured more than once", heads, rows(lines), css="cells ledger")


def _range(ends: tuple[int, int] | None) -> str:
    return NOTHING if ends is None else " to ".join(f"{end / GIB:.3f}" for end in ends)


# -- the table -----------------------------------------------------------------------------------------


def _table_rows(found: Accuracy) -> Table:
    has_steps = bool(found.step.n)
    names = (*map(capital, NUMBERS), *(["Step"] if has_steps else []), "Largest batch")
    heads = columns("Run", numbers=names) + columns("Said", "Was", "Source")
    lines = tuple(_row(row, has_steps=has_steps) for row in found.rows)
    return Table("All rows", heads, lines, css="cells ledger", box="tall", noun="row")


def _row(row: AccuracyRow, *, has_steps: bool) -> Row:
    boundary = row.batch_size_difference
    step = NOTHING if row.step_percent is None else difference_text(row.step_percent, 100)
    judged = row.verdict_agrees is not None
    # no command holds another card to that room; the ledger does
    prediction = "actprof accuracy --refresh" if row.held_to_bytes else cell_command(row.cell)
    own = [("The measurement", row.command)] if row.command not in ("", prediction) else []
    entries = (
        Entry(row.name, "run"),
        *(_difference(row, number) for number in NUMBERS),
        *([step] if has_steps else []),
        NOTHING if boundary is None else _signed(boundary) if boundary else "exact",
        _badge(row.predicted.verdict) if judged else NOTHING,
        _badge(row.measured.verdict, is_wrong=row.verdict_agrees is False) if judged else NOTHING,
        row.origin,
    )
    texts = (*own, ("The prediction", prediction))
    return Row(entries, facts=_facts(row), texts=texts, table=_table_figures(row))


def _badge(verdict: str, *, is_wrong: bool = False) -> Entry:
    state = "fits" if verdict == "ran" else verdict
    text = VERDICT_WORDS.get(verdict, verdict)
    return Entry(text, "wrong" if is_wrong else "", badge=state, notes=("wrong",) if is_wrong else ())


def _difference(row: AccuracyRow, number: str) -> Entry:
    """Return bytes, percent, and whether the band holds it; what nobody has explained stands out."""
    size, (_, measured) = row.difference_bytes(number), row.sizes(number)
    if size is None:
        return Entry(NOTHING)
    inside = ("in the band",) if size and row.band_holds(number) else ()
    css = "n off" if number in row.unexplained else "n"
    return Entry(_signed_bytes(size), css, notes=(difference_text(size, measured or 0), *inside))


def _signed(count: int) -> str:
    return f"{count:+d}".replace("-", "\u2212")


def _signed_bytes(size: int) -> str:
    sign = "" if not size else "\u2212" if size < 0 else "+"
    return f"{sign}{format_bytes(abs(size))}"


def _list_differences(row: AccuracyRow) -> str:
    found = ((number, _difference(row, number)) for number in row.unexplained)
    return join(f"{number} {entry.text} ({entry.notes[0]})" for number, entry in found if entry.notes)


def _table_figures(row: AccuracyRow) -> Table:
    """Return predicted and measured of all figures that at least one side has."""
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
    lines = (line for line in shown if line[1:] != (NOTHING, NOTHING))
    heads = (("Figure", "hidden"), *columns("predicted", row.origin))
    return Table("Figures", heads, rows(lines), css="plain", named=True)


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
        return VERDICT_WORDS.get(value, str(value))
    digits = 2 if resolution else 3
    text = format_bytes(value, digits=digits)
    return f"{text} \u00b1 {format_bytes(resolution)}" if resolution else text


def _facts(row: AccuracyRow) -> tuple[tuple[str, str], ...]:
    facts = {
        "Cause of the difference": row.notes,
        "Source": row.source,
        "Date": row.date,
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(row.versions.items())),
        "Run": row.run,
    }
    return tuple((name, value) for name, value in facts.items() if value)
