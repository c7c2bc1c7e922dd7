"""`actprof accuracy`: how true predictions are, by the rows of the accuracy ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from actprof import api
from actprof.accuracy_ledger import DEFAULT_FOLDER, PAGE_NAME
from actprof.analysis.accuracy import NUMBERS, Accuracy, AccuracyRow, Errors
from actprof.cli.console import messages, output, print_json, progress_bar
from actprof.units import format_bytes

_WIDE = 110  # columns from which on bytes stand beside the percentages ...
_NAME = 32  # ... where so many are left for the run's name
_ROOM = 4  # columns that leave room for one more on a narrow terminal
_NOTHING = "[dim]-[/]"
_FAILED = 1


@click.command(name="accuracy")
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@click.option(
    "--add",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A folder of a sweep with measured results, or a file of `actprof measure --json`. Repeatable.",
)
@click.option("--refresh", is_flag=True, help="Predict every row again and store that.")
@click.option(
    "--check",
    is_flag=True,
    help="Predict every row again, write no page, and exit with 1 when a run that was said to fit ran out, "
    "or a stored prediction is no longer what is predicted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(*, folder: Path, as_json: bool, **options: Any) -> int:
    """Show how true predictions are, from the ledger in FOLDER (reports/accuracy if left out).

    A row is one run, predicted and measured, by actprof or by others who published it. Differences are
    predicted minus measured. Writes accuracy.html into FOLDER.

    \b
    Examples:
      actprof accuracy
      actprof accuracy --add measured.json --add reports/3090
      actprof accuracy --check
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    with _progress() as listener:
        found = api.accuracy(folder, listener=listener, **options)
    page = None if options["check"] else folder / PAGE_NAME
    if as_json:
        print_json({**found.to_json(), "page": None if page is None else str(page)})
    else:
        print_accuracy(found, output())
        if page is not None:
            messages().print(f"wrote {escape(str(page))}", soft_wrap=True)
    return _FAILED if options["check"] and (found.changed or found.verdicts.said_runs_ran_out) else 0


@contextmanager
def _progress() -> Iterator[Callable[[AccuracyRow], None]]:
    with progress_bar(TextColumn("{task.description}")) as progress:
        task = progress.add_task("", total=None)
        yield lambda row: progress.update(task, description=f"predicting {escape(row.name)}")


def print_accuracy(found: Accuracy, console: Console) -> None:
    """Print the rows, the worst first, then what they say together and what nobody has explained."""
    if found.rows:
        console.print(_rows(found.rows, console))
        console.print()
    console.print(_summary(found))
    _print_list("Said to fit, and ran out", found.verdicts.said_runs_ran_out, console, style="bold red")
    _print_list("Said to run out, and ran", found.verdicts.said_oom_ran, console, style="bold yellow")
    _print_unexplained(found.unexplained, console)
    _print_list("No longer predicted as stored (see --refresh)", found.changed, console, style="bold yellow")
    if not any(row.origin == "measured" for row in found.rows):
        console.print("\n[dim]No row was measured by actprof itself; all are published by others.[/]")


def _rows(rows: tuple[AccuracyRow, ...], console: Console) -> Table:
    """Return the table without the columns that are empty; bytes and origin, where there is room for them."""
    wide = console.width >= _WIDE
    shown = _shown(rows, wide=wide)
    if wide and console.width - sum(_width(rows, *column) for column in shown) < _NAME:
        shown = _shown(rows, wide=False)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("run", overflow="fold", min_width=16)
    for name, _ in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(row.name), *(of(row) for _, of in shown))
    return table


def _width(rows: tuple[AccuracyRow, ...], name: str, of: Callable[[AccuracyRow], str]) -> int:
    return 2 + max(len(name), *(Text.from_markup(of(row)).cell_len for row in rows))


def _shown(rows: tuple[AccuracyRow, ...], *, wide: bool) -> list[tuple[str, Callable[[AccuracyRow], str]]]:
    columns: list[tuple[str, Callable[[AccuracyRow], str]]] = [
        *((number, partial(_difference, number=number, wide=wide)) for number in NUMBERS),
        ("largest", lambda row: _whole(row.batch_size_difference, "{:+d}".format)),
        ("tried", lambda row: _whole(row.difference_bytes("tried"), _signed_bytes)),
        ("said: was", _verdict),
    ]
    shown = [(name, of) for name, of in columns if any(of(row) != _NOTHING for row in rows)]
    timed = any(row.step_percent is not None for row in rows)
    if timed and (wide or len(shown) <= _ROOM):
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
    return f"[yellow]{text}[/]" if number in row.unexplained else text


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
    return (
        f"[{'green' if row.verdict_agrees else 'bold red'}]{row.predicted.verdict}: {row.measured.verdict}[/]"
    )


def _summary(found: Accuracy) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("difference", style="dim", no_wrap=True)
    for name in ("rows", "median", "95 % within", "worst"):
        table.add_column(name, justify="right", no_wrap=True)
    kinds: dict[str, Errors] = {name: getattr(found, name) for name in NUMBERS}
    for name, errors in {**kinds, "seconds of a step": found.step}.items():
        values = (errors.median_percent, errors.p95_percent, errors.worst_percent)
        table.add_row(name, str(errors.n), *(_NOTHING if v is None else f"{v:.3f} %" for v in values))
    for name, matches in (("largest batch size", found.boundaries), ("tried to allocate", found.tried)):
        table.add_row(name, str(matches.n), f"{matches.exact} exact" if matches.n else _NOTHING)
    verdicts = found.verdicts
    table.add_row("ran or ran out", str(verdicts.n), f"{verdicts.agree} alike" if verdicts.n else _NOTHING)
    table.add_row("  said to fit, ran out", str(len(verdicts.said_runs_ran_out)))
    table.add_row("  said to run out, ran", str(len(verdicts.said_oom_ran)))
    return table


def _print_list(title: str, rows: tuple[AccuracyRow, ...], console: Console, *, style: str) -> None:
    if rows:
        console.print(f"\n[{style}]{title}[/]")
        for row in rows:
            console.print(f"  {escape(row.name)}")


def _print_unexplained(rows: tuple[AccuracyRow, ...], console: Console) -> None:
    if not rows:
        return
    console.print("\n[bold]Unexplained[/] [dim](allocated off by over 0.1 %, reserved by over 1 %)[/]")
    for row in rows:
        differences = ", ".join(f"{name} {_difference(row, name, wide=True)}" for name in row.unexplained)
        console.print(f"  {escape(row.name)}: {differences}")
