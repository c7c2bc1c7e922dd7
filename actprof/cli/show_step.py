"""Where a predicted step goes, on the terminal: kinds of kernels, components, phases, what is faster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.console import Console
from rich.markup import escape

from actprof.advice.faster import Faster
from actprof.cli.console import plain_table
from actprof.prediction.limits import limited_text, rates_text
from actprof.prediction.step_parts import component_parts, kind_parts
from actprof.results import Result, StepWork
from actprof.step_time.variants import COMPILED
from actprof.units import format_seconds
from actprof.words import join, percent

_WIDE = 96  # columns from which on launches are counted
_ROWS = 6  # of kinds and of components


def print_step(
    result: Result, console: Console, *, changes: Sequence[Faster] = (), full: bool = False
) -> None:
    """Print where the seconds of a step go and what would be faster; nothing when its speed is not known."""
    seconds, rate, work = result.step_seconds, result.samples_per_second, result.work
    if seconds is None or rate is None or work is None:
        return
    note = f"{format_seconds(seconds.median)} predicted; shares of the GPU's time"
    console.print(f"\n[bold]Where the step goes[/] [dim]({note})[/]")
    console.print(f"limited by {escape(limited_text(result))}")
    if work.kinds:
        _print_parts(work, console, most=None if full else _ROWS)
    if work.phases:
        phases = (
            f"{name} {format_seconds(host)} and {format_seconds(device)}"
            for name, (host, device) in work.phases.items()
        )
        console.print(f"[dim]host and GPU by phase:[/] {', '.join(phases)}")
    if changes:
        _print_changes(rate, changes, console)


def _print_parts(work: StepWork, console: Console, most: int | None) -> None:
    """Print kinds and components side by side; launches where there is room for them."""
    wide, whole = console.width >= _WIDE, work.device_seconds
    heads = ("by kind of kernel", ">", ">", *([">launches"] if wide else []), "", "by component", ">", ">")
    table = plain_table(*heads, padding=(0, 2 if wide else 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    kinds = [
        (*_part(cost.kind, cost.seconds, whole), *([f"{cost.kernels:,}"] if wide else []), "")
        for cost in kind_parts(work, most)
    ]
    components = [_part(name, seconds, whole) for name, seconds in component_parts(work, most).items()]
    nothing = ("",) * (5 if wide else 4)
    for kind, component in zip_longest(kinds, components, fillvalue=()):
        table.add_row(*(kind or nothing), *component)
    console.print(table)


def _part(name: str, seconds: float, whole: float) -> tuple[str, ...]:
    return escape(name), format_seconds(seconds), percent(seconds, whole)


def _print_changes(rate: float, changes: Sequence[Faster], console: Console) -> None:
    said = [f"{rates_text((rate, rate))} as it is"]
    said += [f"{rates_text(change.rates)} with {change.title}" for change in changes if change.matters]
    rest = [change.title for change in changes if not change.matters]
    nothing = f"; next to nothing comes of {join(rest)}" if rest else ""
    console.print(f"[dim]samples/s:[/] {escape(', '.join(said) + nothing)}")
    for change in changes:
        if change.title == COMPILED and change.matters:
            console.print(f"[dim]{escape(f'{change.title}: {change.note}')}[/]")
