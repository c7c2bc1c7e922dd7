"""Check what a scenario file expects: claims, a memory budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from actprof import api
from actprof.claims.judge import Outcome, claims_of
from actprof.cli import echo
from actprof.cli.console import output, print_indented, print_json, progress_listener
from actprof.cli.markdown import markdown_table
from actprof.cli.options import gpu_option, jobs_option, json_option, markdown_option
from actprof.cli.progress_bar import counting_columns
from actprof.records import to_plain
from actprof.results import SCHEMA_VERSION
from actprof.words import plural

BROKEN, OPEN = 1, 3  # exit codes
_STYLES = {True: "green", False: "bold red", None: "magenta"}
_MARKS = {True: "✓", False: "✗", None: "?"}
_WORDS = {True: "as expected", False: "not as expected", None: "cannot be told"}


@click.command(name="check")
@click.argument("scenario", type=click.Path(path_type=Path))
@gpu_option("Another GPU than the scenario's, for what does not name its own.")
@jobs_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of a sweep's results, to take known answers from.  [default: reports/<scenario>]",
)
@json_option
@markdown_option
def command(*, scenario: Path, as_json: bool, markdown: bool, **options: Any) -> int:
    """Check what a scenario file expects under `expect:`, without a GPU.

    The exit code is 0 when all is as expected, 1 when something is not, 3 when something cannot be told.

    \b
    Example of a budget:
      expect:
        - verdict: fits
          peak_allocated: at most 13 GiB
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    loaded = api.load_scenario(scenario)
    with progress_listener(*counting_columns(), start="reading what is known") as listener:
        outcomes = api.check(loaded, listener=listener, **options)
    code = exit_code(outcomes)
    if as_json:
        held = {0: True, BROKEN: False, OPEN: None}[code]
        answer = {"scenario": loaded.name, "held": held, "outcomes": to_plain(outcomes)}
        print_json({"schema_version": SCHEMA_VERSION, **answer})
    elif markdown:
        echo(outcomes_markdown(outcomes))
    else:
        print_outcomes(outcomes, output())
    return code


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 1 when something is not as expected, else 3 when something cannot be told, else 0."""
    found = {outcome.held for outcome in outcomes}
    return BROKEN if False in found else OPEN if None in found else 0


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print each claim with its expectations, and how many are as expected."""
    for claim in claims_of(outcomes):
        _print_claim(claim, console)
    console.print(_summary(outcomes))


def _print_claim(claim: list[tuple[Outcome, str, str]], console: Console) -> None:
    first = claim[0][0]
    if first.claim:
        source = f"  [dim]{escape(first.source)}[/]" if first.source else ""
        console.print(f"[bold]“{escape(first.claim)}”[/]{source}")
    console.print(f"[dim]{escape(first.scope)}[/]")
    width = max(len(quantity) for _, quantity, _ in claim)
    expected_width = max(len(outcome.expected) for outcome, _, _ in claim)
    for outcome, quantity, instead in claim:
        verb = "is" if outcome.held is not None else "cannot be told:"
        text = (
            f"[{_STYLES[outcome.held]}]{_MARKS[outcome.held]}[/] {escape(quantity.ljust(width))}  "
            f"expected {escape(outcome.expected.ljust(expected_width))}  {verb} {escape(outcome.actual)}"
        )
        print_indented(text, console, 2)
        if instead:
            print_indented(f"[dim]{escape(instead)}[/]", console, 6)
    console.print()


def outcomes_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the same as a table for an issue or a pull request."""
    rows = [
        (first.claim if number == 0 else "", quantity, outcome.expected, outcome.actual, _WORDS[outcome.held])
        for claim in claims_of(outcomes)
        for first in (claim[0][0],)
        for number, (outcome, quantity, _instead) in enumerate(claim)
    ]
    table = markdown_table(("Claim", "Quantity", "Expected", "Actual", ""), rows)
    return f"{table}\n\n{_summary(outcomes, styled=False)}"


def _summary(outcomes: Sequence[Outcome], *, styled: bool = True) -> str:
    counts = {held: sum(outcome.held is held for outcome in outcomes) for held in _WORDS}
    parts = [
        f"[{_STYLES[held]}]{counts[held]} {word}[/]" if styled else f"{counts[held]} {word}"
        for held, word in _WORDS.items()
        if counts[held]
    ]
    return f"{len(outcomes)} {plural(len(outcomes), 'expectation')}: {', '.join(parts)}"
