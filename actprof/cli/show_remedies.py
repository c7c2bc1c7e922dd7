"""Remedies on the terminal: what each does, how it is applied, and which together make a batch size fit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cell import CELL_FIELDS
from actprof.cli.console import batch_size_text, plain_table, verdict_text
from actprof.cli.show_result import print_verdict
from actprof.results import Result, Verdict
from actprof.units import format_bytes
from actprof.words import rate_text

if TYPE_CHECKING:
    from actprof.advice.combinations import Combination
    from actprof.advice.offer import Offer
    from actprof.advice.suggest import Remedy

_HOW = {1: "env", 2: "flag", 3: "data", 4: "code"}
_EXPLAINED = 3
_WIDE = 90  # columns from which on the table's columns stand further apart
_COLUMNS = ("remedy", "changes", ">process", "verdict", ">batch", ">GFLOP", ">smp/s", "by")
_LEGEND = (
    "process: with its CUDA context, at the peak; batch: the largest that runs; GFLOP: of one sample; "
    "smp/s: predicted samples per second; by: environment variable, flag, dataset or code"
)


def print_suggestions(start: Result, remedies: Sequence[Remedy], console: Console) -> None:
    """Print a table of remedies against the start, then how to apply the best."""
    print_verdict(start, console)
    console.print()
    if not remedies:
        console.print("Nothing that could be tried concerns this run.")
        return
    console.print(_table(start, remedies, wide=console.width >= _WIDE))
    console.print(f"[dim]{_LEGEND}[/]")
    for remedy in remedies[:_EXPLAINED]:
        _print_how(f"{remedy.title} ({remedy.kind})", (remedy,), console)


def print_untraced(left: Sequence[Offer], console: Console) -> None:
    """Print which remedies have not been looked at."""
    titles = ", ".join(offer.title for offer in left)
    console.print(f"\n[dim]Not traced yet, as another call does: {escape(titles)}.[/]")


def _table(start: Result, remedies: Sequence[Remedy], *, wide: bool) -> Table:
    table = plain_table(*_COLUMNS, padding=(0, 2 if wide else 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    table.add_row("[dim]as it is[/]", "", *_figures(start), "")
    for remedy in remedies:
        kind = remedy.kind.removeprefix("changes the ")
        table.add_row(escape(remedy.title), kind, *_figures(remedy.after), _HOW[remedy.cost])
    return table


def _figures(result: Result) -> tuple[str, str, str, str, str]:
    """Return process, verdict, largest batch, GFLOP and rate; a run that runs out has no rate."""
    largest = "not known" if result.max_batch_size is None else batch_size_text(result.max_batch_size)
    flops = f"{result.flops_per_sample / 1e9:.0f}" if result.flops_per_sample else ""
    rate = result.samples_per_second if result.runs else None
    speed = "" if rate is None else rate_text(rate)
    return format_bytes(result.peak_process_bytes), verdict_text(result), largest, flops, speed


def print_combinations(start: Result, together: Sequence[Combination], console: Console) -> None:
    """Print what makes a batch size fit, and how to apply the cheapest of it."""
    size = start.cell.batch_size
    if start.verdict == Verdict.FITS:
        console.print(f"\nBatch size {size} fits as it is.")
        return
    if not together:
        console.print(f"\nNothing that was tried makes batch size {size} fit.")
        return
    console.print(f"\nWhat makes batch size {size} fit, the least effort first:")
    for combination in together:
        titles = " + ".join(offer.title for offer in combination.offers)
        process = format_bytes(combination.after.peak_process_bytes)
        kept = "lossless" if combination.is_lossless else "not lossless"
        console.print(f"  {escape(titles)}: {process}, {kept}")
        for line in _applied(combination.offers):
            console.print(f"    [cyan]{escape(line)}[/]", soft_wrap=True)
    if len(together[0].offers) > 1:
        _print_how("the first of them", together[0].offers, console)


def _applied(offers: Sequence[Offer]) -> list[str]:
    """Return lines that apply all of `offers`: variables and flags, one script with all code, or notes."""
    added = " ".join(word for offer in offers for word in added_words(offer))
    scripted = any(offer.code for offer in offers)
    bare = [offer.note for offer in offers if not (offer.environment or offer.flags or offer.code)]
    return [*filter(None, [added]), *([script_text(*offers)] if scripted else []), *bare]


def added_words(offer: Offer) -> list[str]:
    """Return the variables and flags that a remedy adds to the command, as a shell takes them."""
    variables = (f"{name}={shlex.quote(value)}" for name, value in offer.environment.items())
    return [*variables, *map(shlex.quote, offer.flags)]


def script_text(*offers: Offer) -> str:
    """Return the command that prints a training script with what of these remedies is code."""
    return f"actprof suggest {_scripted(offers)} > train.py  # and run that instead of lerobot-train"


def _scripted(offers: Sequence[Offer]) -> str:
    """Return the options that ask for that script; nothing where none of them is code."""
    coded = [offer for offer in offers if offer.code]
    policies = {offer.cell.policy for offer in coded} - {CELL_FIELDS[0].default}
    return " ".join([*(f"--policy {name}" for name in policies), *(f"--script {it.name}" for it in coded)])


def _print_how(title: str, offers: Sequence[Offer], console: Console) -> None:
    console.print(f"\n[bold]{escape(title)}[/]")
    for offer in offers:
        for word in added_words(offer):
            console.print(escape(f"  {word}"), soft_wrap=True)
    for line in "\n\n".join(offer.code for offer in offers if offer.code).splitlines():
        console.print(escape(f"  {line}".rstrip()), soft_wrap=True)
    if words := _scripted(offers):
        console.print(f"  [dim]actprof suggest {words} prints a training script with it.[/]", soft_wrap=True)
    for offer in offers:
        if offer.note:
            console.print(f"  [dim]{escape(offer.note)}[/]")
