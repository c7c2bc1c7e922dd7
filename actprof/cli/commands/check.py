"""Check what a scenario file expects: claims, a memory budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import TextColumn, TimeElapsedColumn

from actprof import api
from actprof.claims.judge import Outcome, claims_of
from actprof.cli.console import output, print_json, progress_listener
from actprof.cli.options import complete_gpu, jobs_option, json_option
from actprof.records import to_plain
from actprof.results import SCHEMA_VERSION

BROKEN, OPEN = 1, 3  # exit codes
_MARKS = {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "[magenta]?[/]"}


@click.command(name="check")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--gpu",
    shell_complete=complete_gpu,
    default=None,
    help="Another GPU than the scenario's, for what does not name its own.",
)
@jobs_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of a sweep's results, to take known answers from.  [default: reports/<scenario>]",
)
@json_option
def command(*, scenario: Path, gpu: str | None, jobs: int | None, out: Path | None, as_json: bool) -> int:
    """Check what a scenario file expects under `expect:`, without a GPU.

    The exit code is 0 when all is held, 1 when something is broken, 3 when something cannot be told.

    \b
    Example of a budget:
      expect:
        - verdict: fits
          peak_allocated: at most 13 GiB
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    loaded = api.load_scenario(scenario)
    columns = (TimeElapsedColumn(), TextColumn("{task.description}"))
    with progress_listener(*columns, start="starting") as listener:
        outcomes = api.check(loaded, gpu=gpu, jobs=jobs, out=out, listener=listener)
    code = exit_code(outcomes)
    if as_json:
        held = {0: True, BROKEN: False, OPEN: None}[code]
        answer = {"scenario": loaded.name, "held": held, "outcomes": to_plain(outcomes)}
        print_json({"schema_version": SCHEMA_VERSION, **answer})
    else:
        print_outcomes(outcomes, output())
    return code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 1 when something is broken, else 3 when something cannot be told, else 0."""
    found = {outcome.held for outcome in outcomes}
    return BROKEN if False in found else OPEN if None in found else 0


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print each claim with its expectations, and how many are held."""
    for claim in claims_of(outcomes):
        _print_claim(claim, console)
    console.print(_summary(outcomes))


def _print_claim(claim: list[tuple[Outcome, str, str]], console: Console) -> None:
    first = claim[0][0]
    if first.claim:
        source = f"  [dim]{escape(first.source)}[/]" if first.source else ""
        console.print(f"[bold]“{escape(first.claim)}”[/]{source}", soft_wrap=True)
    console.print(f"[dim]{escape(first.scope)}[/]", soft_wrap=True)
    width = max(len(quantity) for _, quantity, _ in claim)
    expected_width = max(len(outcome.expected) for outcome, _, _ in claim)
    for outcome, quantity, instead in claim:
        verb = "is" if outcome.held is not None else "cannot be told:"
        console.print(
            f"  {_MARKS[outcome.held]} {escape(quantity.ljust(width))}  "
            f"expected {escape(outcome.expected.ljust(expected_width))}  {verb} {escape(outcome.actual)}",
            soft_wrap=True,
        )
        if instead:
            console.print(f"      [dim]{escape(instead)}[/]", soft_wrap=True)
    console.print()


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = {held: sum(outcome.held is held for outcome in outcomes) for held in _MARKS}
    total = "1 expectation" if len(outcomes) == 1 else f"{len(outcomes)} expectations"
    words = [(True, "green", "held"), (False, "bold red", "broken"), (None, "magenta", "not to be told")]
    parts = [f"[{style}]{counts[held]} {word}[/]" for held, style, word in words if counts[held]]
    return f"{total}: {', '.join(parts)}"
