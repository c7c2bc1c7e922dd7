"""Say what to change so that a run fits."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from actprof import api
from actprof.cell import CHANGES
from actprof.cli.answer import print_verdict
from actprof.cli.console import batch_size_text, output, print_json, progress_bar, verdict_text
from actprof.cli.options import cell_options
from actprof.results import Result, Verdict
from actprof.units import format_bytes
from actprof.words import rate_text

if TYPE_CHECKING:
    from actprof.advice.combinations import Combination
    from actprof.advice.remedies import Offer
    from actprof.advice.suggest import Remedy
    from actprof.progress import Progress

_HOW = {1: "env", 2: "flag", 3: "data", 4: "code"}
_EXPLAINED = 3
_WIDE = 90  # columns from which on the table's columns stand further apart
# Name, and whether its cells are figures.
_COLUMNS = {
    "remedy": False,
    "changes": False,
    "process": True,
    "verdict": False,
    "batch": True,
    "GFLOP": True,
    "smp/s": True,
    "by": False,
}
_LEGEND = (
    "process: with its CUDA context, at the peak; batch: the largest that runs; GFLOP: of one sample; "
    "smp/s: predicted samples per second; by: environment variable, flag, dataset or code"
)


@click.command(name="suggest")
@cell_options
@click.option(
    "--target-batch", type=click.IntRange(min=1), help="Search for what makes this batch size fit, together."
)
@click.option("--limit", type=click.IntRange(min=1), help="So many remedies.  [default: all]")
@click.option("--fast", is_flag=True, help="Only what needs no new trace.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes for tracing.  [default: one per core]"
)
@click.option(
    "--script",
    "script",
    multiple=True,
    type=click.Choice(CHANGES),
    metavar="NAME",
    help="Print a training script with this change instead, to run in place of lerobot-train. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(
    *,
    target_batch: int | None,
    limit: int | None,
    fast: bool,
    jobs: int | None,
    script: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Say what to change so that a run fits, and what each change does.

    Each remedy is traced and replayed like the run itself, the most useful first. The first time takes a
    minute or two, then the traces are there.

    \b
    Examples:
      actprof suggest --batch-size 64 --gpu "RTX 3090"
      actprof suggest --target-batch 128
      actprof suggest --script fused_attention > train_fused.py
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    if script:
        from actprof.policies.change_code import train_script

        click.echo(train_script(script), nl=False)
        return
    together: tuple[Combination, ...] = ()
    if target_batch is not None:
        options["batch_size"] = target_batch
    with _progress() as listener:
        search: dict[str, Any] = {"target_batch": target_batch, "jobs": jobs, "listener": listener}
        start = api.predict(**options)
        remedies = api.suggest(cell=start.cell, limit=limit, only_cached=fast, **search)
        if target_batch is not None and start.verdict != Verdict.FITS and not fast:
            together = api.reach(cell=start.cell, **search)
    if as_json:
        remedy_rows = [remedy.to_json() for remedy in remedies]
        answers = [combination.to_json() for combination in together]
        print_json({"before": start.to_json(curve=False), "remedies": remedy_rows, "combinations": answers})
        return
    print_suggestions(start, remedies, output())
    if target_batch is not None and not fast:
        print_combinations(start, together, output())


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


def _table(start: Result, remedies: Sequence[Remedy], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0))
    for name, is_figure in _COLUMNS.items():
        table.add_column(name, justify="right" if is_figure else "left", no_wrap=True)
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
    added = [f"{name}={shlex.quote(value)}" for offer in offers for name, value in offer.environment.items()]
    added += [shlex.quote(flag) for offer in offers for flag in offer.flags]
    scripted = " ".join(f"--script {offer.name}" for offer in offers if offer.code)
    script = f"actprof suggest {scripted} > train.py  # and run that instead of lerobot-train"
    bare = [offer.note for offer in offers if not (offer.environment or offer.flags or offer.code)]
    return [*([" ".join(added)] if added else []), *([script] if scripted else []), *bare]


def _print_how(title: str, offers: Sequence[Offer], console: Console) -> None:
    console.print(f"\n[bold]{escape(title)}[/]")
    for offer in offers:
        for name, value in offer.environment.items():
            console.print(escape(f"  {name}={shlex.quote(value)}"), soft_wrap=True)
        for flag in offer.flags:
            console.print(escape(f"  {shlex.quote(flag)}"), soft_wrap=True)
    for line in "\n\n".join(offer.code for offer in offers if offer.code).splitlines():
        console.print(escape(f"  {line}".rstrip()), soft_wrap=True)
    if scripted := [offer.name for offer in offers if offer.code]:
        words = " ".join(f"--script {name}" for name in scripted)
        console.print(f"  [dim]actprof suggest {words} prints a training script with it.[/]", soft_wrap=True)
    for offer in offers:
        if offer.note:
            console.print(f"  [dim]{escape(offer.note)}[/]")


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with progress_bar(*columns) as bar:
        task = bar.add_task("predicting the run as it is", total=None)

        def tell(progress: Progress) -> None:
            description = escape(progress.running[0] if progress.running else "replaying")
            bar.update(task, total=progress.total or None, completed=progress.done, description=description)

        yield tell
