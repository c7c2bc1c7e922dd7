"""Several cards in one table: does the run fit, how large its batch may be, how long it takes, its price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from actprof.advice.answer import SAMPLES, figure, hours_text, step_hours, steps_text
from actprof.cli.console import VERDICT_STYLES, batch_size_text, plain_table
from actprof.cli.markdown import markdown_table
from actprof.hardware.jobs import PRICE_SOURCE, card_dollars
from actprof.policies import policy_title
from actprof.results import Result, Verdict
from actprof.units import format_bytes, format_seconds
from actprof.words import asked_text, plural, rate_text

_WIDE = 108  # columns from which on all columns of the table have room
_NARROW = ("memory", "$ an\nhour")  # are left out below it
_LEGEND = "process: with its CUDA context, at the peak; step and samples/s: predicted"
_SPEED = (">step", ">samples\n/s")
_ORDER = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.OOM: 2, Verdict.UNKNOWN: 3}


def print_cards(results: Sequence[Result], console: Console, *, steps: int | None = None) -> None:
    """Print on how many cards a run fits, and a row for each: what fits first, then by time."""
    cell = results[0].cell
    runs = sum(result.runs for result in results)
    tight = sum(result.verdict == Verdict.TIGHT for result in results)
    tightly = f", {tight} of them tightly" if tight else ""
    verdict = Verdict.FITS if runs > tight else Verdict.TIGHT if runs else Verdict.OOM
    said = f"{policy_title(cell.policy)} with {asked_text(cell)}"
    headline = f"It runs on {runs} of {len(results)} {plural(len(results), 'card')}{tightly}."
    console.print(f"[{VERDICT_STYLES[verdict]}]{headline}[/] {escape(said)}.\n")
    heads, wide = _heads(steps), console.width >= _WIDE
    shown = [index for index, head in enumerate(heads) if wide or head.lstrip(">") not in _NARROW]
    table = plain_table(*(heads[index] for index in shown), padding=(0, 2 if wide else 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for row in _rows(results, steps):
        table.add_row(*(row[index] for index in shown))
    console.print(table)
    console.print(f"[dim]{_LEGEND}; price: {PRICE_SOURCE}[/]")


def cards_markdown(results: Sequence[Result], *, steps: int | None = None) -> str:
    """Return the table in GitHub's Markdown."""
    rows = [[Text.from_markup(text).plain for text in row] for row in _rows(results, steps)]
    return markdown_table([head.replace("\n/", "/").replace("\n", " ") for head in _heads(steps)], rows)


def _heads(steps: int | None) -> tuple[str, ...]:
    time = f"{SAMPLES:,}\nsamples" if steps is None else steps_text(steps).replace(" ", "\n")
    money = (">$ an\nhour", ">$ in\nall")
    return ("GPU", ">memory", "verdict", ">process", ">largest\nbatch", *_SPEED, f">{time}", *money)


def _rows(results: Sequence[Result], steps: int | None) -> Iterator[tuple[str, ...]]:
    def order(result: Result) -> tuple[int, float]:
        hours = step_hours(result, steps)
        return _ORDER.get(result.verdict, len(_ORDER)), float("inf") if hours is None else hours.hours

    for result in sorted(results, key=order):
        largest = "" if result.max_batch_size is None else batch_size_text(result.max_batch_size)
        hours = step_hours(result, steps) if result.runs else None
        seconds, rate = result.step_seconds, result.samples_per_second
        price = card_dollars(result.gpu.name)
        cost = "" if hours is None or price is None else f"{hours.hours * price:.2f}"
        style = VERDICT_STYLES[result.verdict].removeprefix("bold ")
        yield (
            escape(result.gpu.name),
            format_bytes(result.gpu.capacity_bytes),
            f"[{style}]{result.verdict}[/]",
            format_bytes(result.peak_process_bytes) if result.peak_process_bytes else "",
            largest,
            "" if hours is None or seconds is None else format_seconds(seconds.median),
            "" if hours is None or rate is None else rate_text(rate),
            "" if hours is None else hours_text(hours.hours),
            "" if price is None else figure(price),
            cost,
        )
