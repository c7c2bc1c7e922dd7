"""What `actprof loader` prints: the rows, the parts of a sample, the ratios, and what keeps a step fed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from actprof.cli.console import plain_table
from actprof.loading.feed import workers_needed
from actprof.loading.ratios import find_ratios
from actprof.loading.rows import STAGES
from actprof.loading.sentences import (
    advise,
    dataset_text,
    milliseconds,
    say_cold,
    say_ratio,
    say_result,
    step_of,
    times,
    workers_text,
)

if TYPE_CHECKING:
    from rich.console import Console

    from actprof.loading.ratios import Ratio
    from actprof.loading.rows import LoaderResult, LoaderRow

NOTHING = "\u2013"


def print_loading(
    result: LoaderResult,
    console: Console,
    *,
    step_seconds: float | None = None,
    step_batch_size: int | None = None,
) -> None:
    """Print everything that the rows say."""
    console.print(f"[bold]{escape(say_result(result))}[/]")
    for facts in result.datasets:
        console.print(f"[dim]{escape(dataset_text(facts))}[/]")
    for batch_size in result.batch_sizes:
        console.print(f"\n[bold]Samples per second[/], batch size {batch_size}")
        console.print(_rates(result, batch_size))
    for said in say_cold(result):
        console.print(f"\nFiles not in the page cache: {escape(said)}")
    if any(row.stages for row in result.rows):
        console.print("\n[bold]Where the time of one sample goes[/], ms, cameras one after another")
        console.print(_stages(result))
    ratios = find_ratios(result)
    if ratios:
        console.print("\n[bold]What each change brings[/], without workers")
        console.print(_ratios(ratios))
    if step_seconds is not None:
        _print_advice(result, console, step_seconds, step_of(result, step_batch_size))
    for reason in dict.fromkeys(f"{row.source}: {row.reason}" for row in result.rows if row.reason):
        console.print(f"\n[yellow]not measured:[/] {escape(reason)}")
    for note in result.notes:
        console.print(f"\n[dim]note:[/] {escape(note)}")


def _rates(result: LoaderResult, batch_size: int) -> Table:
    counts = sorted({row.workers for row in result.rows})
    table = _table("loading", "ms/batch", *map(workers_text, counts))
    for source in result.sources:
        rows = [result.row(source, workers=count, batch_size=batch_size) for count in counts]
        alone = result.row(source, batch_size=batch_size)
        table.add_row(escape(str(source)), _batch(alone), *map(_rate, rows))
    return table


def _stages(result: LoaderResult) -> Table:
    rows = [row for row in result.rows if row.stages and row.batch_size == result.batch_sizes[0]]
    shown = [name for name in STAGES if any(name in row.stages for row in rows)]
    table = _table("loading", *shown)
    for row in rows:
        parts = (milliseconds(row.stages[name]) if name in row.stages else NOTHING for name in shown)
        table.add_row(escape(str(row.source)), *parts)
    return table


def _ratios(ratios: tuple[Ratio, ...]) -> Table:
    table = plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for ratio in ratios:
        table.add_row(ratio.change, times(ratio.times), escape(say_ratio(ratio)))
    return table


def _table(first: str, *others: str) -> Table:
    table = plain_table(padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold", min_width=18)
    for name in others:
        table.add_column(name, justify="right", no_wrap=" " not in name)
    return table


def _batch(row: LoaderRow | None) -> str:
    return NOTHING if row is None or row.batch_seconds is None else milliseconds(row.batch_seconds.median)


def _rate(row: LoaderRow | None) -> str:
    rate = None if row is None else row.samples_per_second
    return NOTHING if rate is None else f"{rate:.3g}"


def _print_advice(result: LoaderResult, console: Console, step_seconds: float, batch_size: int) -> None:
    console.print(f"\n[bold]What keeps a step of {step_seconds:g} s with batch size {batch_size} fed[/]")
    feeds = workers_needed(result.rows, step_seconds, result.cores, batch_size=batch_size)
    if not feeds:
        console.print("  cannot be told of rows with workers alone; measure without as well (--workers 0,…)")
    for feed in feeds:
        mark = "[green]yes[/]" if feed.fits else "[red]no [/]"
        console.print(f"  {mark}  {escape(advise(feed, result.cores))}")
