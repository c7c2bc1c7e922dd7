"""Say what to change so that a run fits."""

from __future__ import annotations

from typing import Any

import click

from actprof import api
from actprof.advice.first_aid import first_of
from actprof.cli import echo
from actprof.cli.console import output, print_json, progress_listener
from actprof.cli.options import cell_options, json_option, machine_options, markdown_option
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_remedies import (
    print_combinations,
    print_suggestions,
    print_untraced,
    suggestions_markdown,
)
from actprof.policies.change_code import SCRIPTS
from actprof.results import Verdict


@click.command(name="suggest")
@cell_options
@click.option(
    "--target-batch", type=click.IntRange(min=1), help="Search for what makes this batch size fit, together."
)
@click.option("--limit", type=click.IntRange(min=1), help="So many remedies.  [default: all]")
@click.option("--fast", is_flag=True, help="Only what needs no new trace.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=300,
    show_default=True,
    help="Trace remedies for about so long, the cheapest first; another call goes on.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes for tracing.  [default: one per core]"
)
@click.option(
    "--script",
    "script",
    multiple=True,
    type=click.Choice(SCRIPTS),
    metavar="NAME",
    help="Print a training script with this change instead, to run in place of lerobot-train. Repeatable.",
)
@machine_options
@json_option
@markdown_option
def command(  # noqa: PLR0913 - the options of a command
    *,
    target_batch: int | None,
    limit: int | None,
    fast: bool,
    seconds: float,
    jobs: int | None,
    script: tuple[str, ...],
    as_json: bool,
    markdown: bool,
    **options: Any,
) -> None:
    """Say what to change so that a run fits, and what each change does.

    Each remedy that the policy can take is traced and replayed like the run itself; the most useful comes
    first, and what does next to nothing is left out. Of a run that fits it says how large its batch may be,
    and what would be faster. The first time takes minutes, then the traces are there.

    \b
    Examples:
      actprof suggest --batch-size 64 --gpu "RTX 3090"
      actprof suggest --target-batch 128
      actprof suggest --policy smolvla --set load_vlm_weights=true --batch-size 64
      actprof suggest --script fused_attention > train_fused.py
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    from actprof.advice.combinations import reach
    from actprof.advice.suggest import suggest, untraced

    if script:
        from actprof.policies.change_code import train_script

        echo(train_script(script, options["policy"]), nl=False)
        return
    if target_batch is not None:
        options["batch_size"] = target_batch
    tracing = "tracing what could be changed: minutes the first time, seconds after that"
    doing = "replaying what could be changed: some seconds" if fast else tracing
    with progress_listener(*counting_columns(), start=doing) as listener:
        start = api.predict(**options)
        time: dict[str, Any] = {"seconds": 0 if fast else seconds, "listener": listener}
        remedies = suggest(start.cell, target_batch=target_batch, jobs=jobs, **time)
        needed = target_batch is not None and start.verdict != Verdict.FITS and not fast
        together = reach(remedies, **time) if needed else ()
        left = untraced(start)
    remedies = remedies[:limit]
    if as_json:
        remedy_rows = [remedy.to_json() for remedy in remedies]
        answers = [combination.to_json() for combination in together]
        rest = {"untraced": [offer.name for offer in left], "combinations": answers}
        print_json({"before": start.to_json(curve=False), "remedies": remedy_rows, **rest})
        return
    if markdown:
        echo(suggestions_markdown(start, remedies, remedy=first_of(start, remedies)))
        return
    console = output()
    if target_batch is not None and not fast:
        print_combinations(start, together, console)
    print_suggestions(start, remedies, console, remedy=first_of(start, remedies))
    if left:
        print_untraced(left, console)
