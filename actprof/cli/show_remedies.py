"""Remedies on the terminal: what each does, how it is applied, and which together make a batch size fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from actprof.advice.answer import added_words, step_hours
from actprof.cell import CELL_FIELDS
from actprof.cli.console import batch_size_text, plain_table, print_indented, verdict_text
from actprof.cli.markdown import markdown_table
from actprof.cli.show_result import answer_markdown, print_answer
from actprof.results import Result, Verdict
from actprof.units import format_bytes
from actprof.words import rate_text

if TYPE_CHECKING:
    from actprof.advice.combinations import Combination
    from actprof.advice.offer import Offer
    from actprof.advice.suggest import Remedy

_HOW = {1: "variable", 2: "flag", 3: "dataset", 4: "code"}
_EXPLAINED = 3
_WIDE = 110  # columns from which on there is room for all of the table
_COLUMNS = ("remedy", "changes", ">process", "verdict", ">largest\nbatch", ">samples/s")
_MORE_COLUMNS = (">GFLOP per\nsample", "changed by")
_LEGEND = (
    "process: with its CUDA context, at the peak; samples/s: predicted; as it is: the run without a change"
)


def print_suggestions(
    start: Result, remedies: Sequence[Remedy], console: Console, *, remedy: Remedy | None = None
) -> None:
    """Print the answer in three lines, a table of remedies against the start, and how to apply the best.

    A run that fits is told how large a batch may be, and what would be faster. `remedy` is what helps first.
    """
    print_answer(start, console, remedy=remedy, hours=step_hours(start), where="below")
    fits = start.verdict == Verdict.FITS
    if not remedies:
        nothing = "Nothing that was tried makes it faster, or the largest batch larger."
        console.print(f"\n{nothing if fits else 'Nothing that could be tried concerns this run.'}")
        return
    console.print(
        f"\n[bold]{'What would be faster, or leave more room' if fits else 'What each change does'}[/]"
    )
    console.print(_table(start, remedies, wide=console.width >= _WIDE))
    console.print(f"[dim]{_LEGEND}[/]")
    for shown in _explained(remedies, remedy):
        _print_how(f"{shown.title} ({shown.kind})", (shown,), console)


def _explained(remedies: Sequence[Remedy], first: Remedy | None) -> Sequence[Remedy]:
    """Return what helps first, and the best of other families with which the run gets through, if any."""
    useful = [remedy for remedy in remedies if remedy.after.runs] or remedies
    firsts: dict[str, Remedy] = {}
    for remedy in (*(remedy for remedy in useful if remedy is first), *useful):
        firsts.setdefault(remedy.family, remedy)
    return list(firsts.values())[:_EXPLAINED]


def suggestions_markdown(start: Result, remedies: Sequence[Remedy], *, remedy: Remedy | None = None) -> str:
    """Return the answer and the table of remedies in GitHub's Markdown."""
    heads = [name.replace("\n", " ") for name in (*_COLUMNS, *_MORE_COLUMNS)]
    rows = [[Text.from_markup(text).plain for text in row] for row in _rows(start, remedies)]
    return f"{answer_markdown(start, remedy=remedy)}\n\n{markdown_table(heads, rows)}"


def print_untraced(left: Sequence[Offer], console: Console) -> None:
    """Print which remedies have not been looked at."""
    titles = ", ".join(offer.title for offer in left)
    console.print(f"\n[dim]Not traced yet, as another call does: {escape(titles)}.[/]")


def _table(start: Result, remedies: Sequence[Remedy], *, wide: bool) -> Table:
    heads = (*_COLUMNS, *_MORE_COLUMNS) if wide else _COLUMNS
    table = plain_table(*heads, padding=(0, 2 if wide else 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for row in _rows(start, remedies):
        table.add_row(*row[: len(heads)])
    return table


def _rows(start: Result, remedies: Sequence[Remedy]) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for the run as it is and one for each remedy, with rich's marks."""
    for remedy in (None, *remedies):
        result = start if remedy is None else remedy.after
        largest = "not known" if result.max_batch_size is None else batch_size_text(result.max_batch_size)
        rate = result.samples_per_second if result.runs else None  # a run that runs out has none
        yield (
            "[dim]as it is[/]" if remedy is None else escape(remedy.title),
            "" if remedy is None else remedy.kind.removeprefix("changes the "),
            format_bytes(result.peak_process_bytes),
            verdict_text(result),
            largest,
            "" if rate is None else rate_text(rate),
            f"{result.flops_per_sample / 1e9:.0f}" if result.flops_per_sample else "",
            "" if remedy is None else _HOW[remedy.cost],
        )


def print_combinations(start: Result, together: Sequence[Combination], console: Console) -> None:
    """Print what makes a batch size fit, and how to apply the cheapest of it."""
    size = start.cell.batch_size
    if start.verdict == Verdict.FITS:
        console.print(f"Batch size {size} fits as it is.\n")
        return
    if not together:
        console.print(f"Nothing that was tried makes batch size {size} fit.\n")
        return
    console.print(f"[bold]What makes batch size {size} fit, the least effort first[/]")
    for combination in together:
        titles = " + ".join(offer.title for offer in combination.offers)
        process = format_bytes(combination.after.peak_process_bytes)
        kept = "lossless" if combination.is_lossless else "not lossless"
        console.print(f"  {escape(titles)}: {process}, {kept}")
        _print_applied(combination.offers, console)
    if len(together[0].offers) > 1:
        _print_how("the first of them", together[0].offers, console)
    console.print()


def _print_applied(offers: Sequence[Offer], console: Console) -> None:
    """Print what applies all of `offers`: variables and flags, one script with all code, or notes."""
    print_words([word for offer in offers for word in added_words(offer)], console)
    if any(offer.code for offer in offers):
        print_words([script_text(*offers)], console)
    for offer in offers:
        if not (offer.environment or offer.flags or offer.code):
            print_indented(f"[cyan]{escape(offer.note)}[/]", console, 4)


def print_words(words: Sequence[str], console: Console) -> None:
    """Print what is added to a command, to be copied; what is too long for a line has one for each word."""
    whole = " ".join(words)
    fits = len(whole) + 4 <= console.width or len(words) == 1
    if not words:
        return
    lines = [whole] if fits else [*(f"{word} \\" for word in words[:-1]), words[-1]]
    for line in lines:
        console.print(f"    [cyan]{escape(line)}[/]", soft_wrap=True)


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
        print_words(added_words(offer), console)
    for line in "\n\n".join(offer.code for offer in offers if offer.code).splitlines():
        console.print(escape(f"  {line}".rstrip()), soft_wrap=True)
    if words := _scripted(offers):
        asked = f"actprof suggest {escape(words)}"
        console.print(f"  [dim]{asked} prints a training script with it.[/]", soft_wrap=True)
    for offer in offers:
        if offer.note:
            print_indented(f"[dim]{escape(offer.note)}[/]", console, 2)
