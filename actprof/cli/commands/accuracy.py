"""Show how true predictions are, from the accuracy ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from actprof import api
from actprof.api.ledger import PAGE_NAME
from actprof.cli.console import messages, number_table, output, print_json, progress_listener
from actprof.cli.options import json_option
from actprof.ledger.accuracy import Accuracy
from actprof.ledger.comparison import NUMBERS
from actprof.ledger.keep import DEFAULT_FOLDER
from actprof.ledger.kinds import Bands, Errors, Repeats
from actprof.ledger.row import AccuracyRow
from actprof.report.accuracy_words import lead, more, shared_words, short_name
from actprof.units import GIB, format_bytes

_FAILED = 1
_WIDE = 110  # columns from which on bytes stand beside the percentages ...
_NAME = 32  # ... where so many are left for the run's name
_ROOM = 4  # columns that leave room for one more on a narrow terminal
_FEW = 5  # rows that are shown without being asked for ...
_MOST = 8  # ... and of those that need a look
_NOTHING = "[dim]-[/]"
_LEGEND = (
    "[dim]benchmark: cuDNN chooses plans by time, so that repeated runs fill a band;\n"
    "in band: measured inside of it; width: of the band, in % of what was measured[/]"
)

_Column: TypeAlias = tuple[str, Callable[[AccuracyRow], str]]


@click.command(name="accuracy")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@click.option(
    "--add",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A folder of a sweep with measured results, a file of `actprof measure --json`, the summary of an "
    "`actprof run`, or what somebody contributes. Repeatable.",
)
@click.option("--refresh", is_flag=True, help="Predict every row again and store that.")
@click.option(
    "--check",
    is_flag=True,
    help="Predict every row again, write no page, and exit with 1 when a run that was said to run ran out, "
    "or a stored prediction is no longer what is predicted.",
)
@click.option(
    "--contribute",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Only write this file for others: your calibration and the runs of --add, with nothing personal.",
)
@click.option("--rows", "all_rows", is_flag=True, help="Show all rows, not only the worst.")
@json_option
def command(*, folder: Path, contribute: Path | None, as_json: bool, all_rows: bool, **options: Any) -> int:
    """Show how true predictions are, from the ledger in FOLDER (reports/accuracy if left out).

    A row is one run, predicted and measured, by actprof or by others who published it. Differences are
    predicted minus measured. A band is what repeated runs of the same command may show, because cuDNN chooses
    its plans by time. Writes accuracy.html into FOLDER.

    \b
    Examples:
      actprof accuracy
      actprof accuracy --add measured.json --add reports/3090
      actprof accuracy --check
      actprof accuracy --add measured.json --contribute mine.json
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    if contribute is not None:
        _contribute(contribute, options["add"], as_json=as_json)
        return 0
    with progress_listener(TextColumn("{task.description}"), start="") as listener:
        found = api.accuracy(folder, listener=listener, **options)
    page = None if options["check"] else folder / PAGE_NAME
    if as_json:
        print_json({**found.to_json(), "page": None if page is None else str(page)})
    else:
        print_accuracy(found, output(), all_rows=all_rows)
        if page is not None:
            messages().print(f"wrote {escape(str(page))}", soft_wrap=True)
    return _FAILED if options["check"] and (found.changed or found.verdicts.said_runs_ran_out) else 0


def _contribute(path: Path, add: Sequence[Path], *, as_json: bool) -> None:
    """Write the file for others, and say what is in it and where it goes."""
    with progress_listener(TextColumn("{task.description}"), start="predicting what was measured"):
        found = api.contribute(path, add=add)
    if as_json:
        print_json(found.to_json())
        return
    console = output()
    machine = found.calibration
    if machine is not None:
        said = f"GPU {machine.gpu}" if machine.gpu else "host"
        console.print(escape(f"calibration of the {said}, {machine.date[:10]}"), soft_wrap=True)
    for row in found.rows:
        console.print(escape(f"{row.name}, {row.date[:10]}"), soft_wrap=True)
    console.print(
        "\nNo path, command or name of a machine or a user is in it. Attach it to an issue of actprof, with "
        "the title 'Measured on …'."
    )
    messages().print(f"wrote {escape(str(path))}", soft_wrap=True)


def print_accuracy(found: Accuracy, console: Console, *, all_rows: bool = False) -> None:
    """Print the answer, what the rows say by kind, how far repeated runs differ, and the worst rows."""
    console.print(escape(f"{lead(found)} {more(found)}".strip()))
    console.print()
    console.print(_summary(found))
    console.print(_LEGEND)
    if found.repeats:
        rows = [one.row for one in found.repeats]
        _print_title("Measured again", shared_words(rows), console)
        console.print(_repeats(found.repeats))
    _print_rows(found.rows if all_rows else found.rows[:_FEW], len(found.rows), console)
    for title, listed, style in (
        ("Said to run, and ran out", found.verdicts.said_runs_ran_out, "bold red"),
        ("Said to surely fit, and ran out", found.verdicts.sure_ran_out, "bold red"),
        ("Said to run out, and ran", found.verdicts.said_oom_ran, "bold yellow"),
        ("No longer predicted as stored (see --refresh)", found.changed, "bold yellow"),
    ):
        _print_list(title, listed, console, style=style)
    if not any(row.origin == "measured" for row in found.rows):
        console.print("\n[dim]No row was measured by actprof itself; all are published by others.[/]")


def _print_rows(rows: tuple[AccuracyRow, ...], known: int, console: Console) -> None:
    if not rows:
        return
    which = "Rows" if len(rows) == known else f"The worst of {known} rows (--rows shows all)"
    _print_title(which, shared_words(rows), console)
    console.print(_rows(rows, console))
    if any(row.unexplained for row in rows):
        console.print("[dim]* over 0.1 % of allocated or 1 % of reserved memory, and nobody has said why[/]")


def _print_title(title: str, shared: Sequence[str], console: Console) -> None:
    rest = f"[dim], {escape(', '.join(shared))}[/]" if shared else ""
    console.print(f"\n[bold]{title}[/]{rest}")


def _rows(rows: tuple[AccuracyRow, ...], console: Console) -> Table:
    """Return the table without the columns that are empty; bytes and origin, where there is room for them."""
    wide = console.width >= _WIDE
    shown = _shown(rows, wide=wide)
    if wide and console.width - sum(_width(rows, *column) for column in shown) < _NAME:
        shown = _shown(rows, wide=False)
    table = number_table("run", *(name for name, _ in shown), overflow="fold", min_width=16)
    shared = shared_words(rows)
    for row in rows:
        table.add_row(escape(short_name(row, shared)), *(of(row) for _, of in shown))
    return table


def _width(rows: tuple[AccuracyRow, ...], name: str, of: Callable[[AccuracyRow], str]) -> int:
    return 2 + max(len(name), *(Text.from_markup(of(row)).cell_len for row in rows))


def _shown(rows: tuple[AccuracyRow, ...], *, wide: bool) -> list[_Column]:
    columns: list[_Column] = [
        *((number, partial(_difference, number=number, wide=wide)) for number in NUMBERS),
        ("largest", lambda row: _whole(row.batch_size_difference, "{:+d}".format)),
        ("tried", lambda row: _whole(row.difference_bytes("tried"), _signed_bytes)),
        ("said: was", _verdict),
    ]
    shown = [(name, of) for name, of in columns if any(of(row) != _NOTHING for row in rows)]
    if any(row.step_percent is not None for row in rows) and (wide or len(shown) <= _ROOM):
        shown.append(("step", _step))
    if wide or len(shown) <= _ROOM:
        shown.append(("by", lambda row: row.origin))
    return shown


def _difference(row: AccuracyRow, number: str, *, wide: bool) -> str:
    size, percent = row.difference_bytes(number), row.difference_percent(number)
    if size is None or percent is None:
        return _NOTHING
    text = f"{percent:+.2f} %"
    if wide:
        text = f"{_signed_bytes(size)} {text:>8}"
    if row.band_holds(number):
        return f"[dim]{text}[/]"
    return f"[yellow]{text}*[/]" if number in row.unexplained else text


def _step(row: AccuracyRow) -> str:
    return _NOTHING if row.step_percent is None else f"{row.step_percent:+.1f} %"


def _signed_bytes(size: int) -> str:
    return f"{'-' if size < 0 else '+'}{format_bytes(abs(size))}"


def _whole(difference: int | None, text: Callable[[int], str]) -> str:
    if difference is None:
        return _NOTHING
    return f"[yellow]{text(difference)}[/]" if difference else "[green]exact[/]"


def _verdict(row: AccuracyRow) -> str:
    if row.verdict_agrees is None:
        return _NOTHING
    colour = "green" if row.verdict_agrees else "bold red"
    return f"[{colour}]{row.predicted.verdict}: {escape(row.measured.verdict)}[/]"


def _summary(found: Accuracy) -> Table:
    columns = ("rows", "exact", "median", "worst", "in band", "width")
    table = number_table("difference", *columns, overflow="fold")
    for number in ("allocated", "reserved"):
        table.add_row(number, style="dim")
        for kind in found.kinds:
            if (errors := getattr(kind, number)).n:
                table.add_row(
                    f"  {escape(kind.title)}", *_errors(errors), *_bands(getattr(kind, f"{number}_band"))
                )
    for name, errors in (("process", found.process), ("seconds of a step", found.step)):
        table.add_row(name, *_errors(errors))
    for name, matches in (("largest batch size", found.boundaries), ("tried to allocate", found.tried)):
        table.add_row(name, str(matches.n), str(matches.exact) if matches.n else _NOTHING)
    verdicts = found.verdicts
    table.add_row("ran or ran out, as said", str(verdicts.n), str(verdicts.agree) if verdicts.n else _NOTHING)
    table.add_row("  said to run, ran out", str(len(verdicts.said_runs_ran_out)))
    table.add_row("  said to run out, ran", str(len(verdicts.said_oom_ran)))
    table.add_row("  said to surely fit, ran out", str(len(verdicts.sure_ran_out)))
    table.add_row("differences without a cause", str(len(found.unexplained)))
    return table


def _errors(errors: Errors) -> tuple[str, ...]:
    percents = (errors.median_percent, errors.worst_percent)
    exact = str(errors.exact) if errors.n else _NOTHING
    return str(errors.n), exact, *(_NOTHING if value is None else _percent(value) for value in percents)


def _percent(value: float) -> str:
    return f"{value:.{3 if value < 1 else 2}f} %"


def _bands(bands: Bands) -> tuple[str, ...]:
    """Return how many lie inside, and how wide the band is in the median."""
    if bands.width_percent is None:
        return ()
    text = f"{bands.held} of {bands.n}"
    held = text if bands.held == bands.n else f"[yellow]{text}[/]"
    return held, _percent(bands.width_percent)


def _repeats(repeats: tuple[Repeats, ...]) -> Table:
    """Return how far apart runs of the same command came out, beside the band that was predicted."""
    columns = ("runs", "allocated, GiB", "reserved, GiB", "predicted band")
    table = number_table("run", *columns, overflow="fold", min_width=16)
    shared = shared_words([one.row for one in repeats])
    for one in repeats:
        ranges = (one.allocated, one.reserved, one.row.band("reserved"))
        table.add_row(escape(short_name(one.row, shared)), str(one.n), *map(_range, ranges))
    return table


def _range(ends: tuple[int, int] | None) -> str:
    return _NOTHING if ends is None else " to ".join(f"{end / GIB:.3f}" for end in ends)


def _print_list(title: str, rows: tuple[AccuracyRow, ...], console: Console, *, style: str) -> None:
    if rows:
        console.print(f"\n[{style}]{title}[/]")
        for row in rows[:_MOST]:
            console.print(f"  {escape(row.name)}")
        if len(rows) > _MOST:
            console.print(f"  [dim]and {len(rows) - _MOST} more[/]")
