"""Say what to change so that a run fits."""

from __future__ import annotations

from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from actprof import api
from actprof.cell import CHANGES
from actprof.cli.console import output, print_json, progress_listener
from actprof.cli.options import cell_options, json_option
from actprof.cli.show_remedies import print_combinations, print_suggestions
from actprof.results import Verdict


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
@json_option
def command(  # noqa: PLR0913 - the options of a command
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
    from actprof.advice.combinations import reach
    from actprof.advice.suggest import suggest

    if script:
        from actprof.policies.change_code import train_script

        click.echo(train_script(script, options["policy"]), nl=False)
        return
    if target_batch is not None:
        options["batch_size"] = target_batch
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with progress_listener(*columns, start="predicting the run as it is") as listener:
        search: dict[str, Any] = {"target_batch": target_batch, "jobs": jobs, "listener": listener}
        start = api.predict(**options)
        remedies = suggest(start.cell, limit=limit, only_cached=fast, **search)
        needed = target_batch is not None and start.verdict != Verdict.FITS and not fast
        together = reach(start.cell, **search) if needed else ()
    if as_json:
        remedy_rows = [remedy.to_json() for remedy in remedies]
        answers = [combination.to_json() for combination in together]
        print_json({"before": start.to_json(curve=False), "remedies": remedy_rows, "combinations": answers})
        return
    print_suggestions(start, remedies, output())
    if target_batch is not None and not fast:
        print_combinations(start, together, output())
