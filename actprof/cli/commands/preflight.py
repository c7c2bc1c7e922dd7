"""Say whether a lerobot-train command will run out of memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from actprof import api
from actprof.advice.answer import HEADLINES, Hours, added_words, figure, hours_text, steps_text
from actprof.advice.first_aid import first_of
from actprof.cli import echo
from actprof.cli.console import (
    VERDICT_STYLES,
    boundary_text,
    output,
    print_indented,
    print_json,
    progress_listener,
)
from actprof.cli.options import cards_option, gpu_option, json_option, machine_options, markdown_option
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_cards import cards_markdown, print_cards
from actprof.cli.show_remedies import print_words, script_text
from actprof.cli.show_result import (
    fact_table,
    holders_facts,
    print_answer,
    print_bars,
    print_message,
    result_markdown,
    size_facts,
    speed_facts,
)
from actprof.hardware import builtin_catalogue
from actprof.policies.precision import autocast_of
from actprof.preflight_check.host_memory import host_facts
from actprof.progress import Progress
from actprof.results import Result, Verdict
from actprof.units import format_bytes, format_seconds
from actprof.words import cell_command

if TYPE_CHECKING:
    from actprof.preflight_check.preflight import Preflight


GPU_HELP = "A GPU of `actprof gpus`.  [default: --job.target's, else the one in this machine]"


@click.command(name="preflight", context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- lerobot-train ...")
@click.option("--config", type=click.Path(path_type=Path), help="A train_config.json instead of a command.")
@cards_option
@gpu_option(GPU_HELP)
@click.option("--capacity", metavar="SIZE", help="Memory of the GPU, like 23.69GiB.  [default: the GPU's]")
@click.option("--used-by-others", metavar="SIZE", help="Memory that other programs hold, of a GPU not here.")
@click.option("--cameras", type=click.IntRange(min=0), help="Where the dataset is not at hand.")
@click.option(
    "--resolution",
    metavar="WIDTHxHEIGHT[,...]",
    help="Of the cameras, or of each, where the dataset is not at hand.",
)
@click.option("--state-dim", type=click.IntRange(min=0), help="Length of the robot's state, likewise.")
@click.option("--action-dim", type=click.IntRange(min=1), help="Length of one action, likewise.")
@click.option(
    "--load-seconds",
    type=click.FloatRange(min=0),
    help="Seconds from one batch to the next, as `actprof loader` measures.",
)
@click.option("--price-per-hour", type=click.FloatRange(min=0), help="Dollars, of the machine.")
@click.option(
    "--require",
    type=click.Choice(["tight", "fits"]),
    default="tight",
    show_default=True,
    help="The least verdict whose exit code is 0.",
)
@click.option(
    "--remedies/--no-remedies", default=True, help="Look for remedies where it does not simply fit."
)
@machine_options
@markdown_option
@json_option
def command(
    *,
    words: tuple[str, ...],
    gpu: tuple[str, ...],
    require: str,
    markdown: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Say whether the lerobot-train command that follows will run out of memory.

    The command stands after --, just as it would be run: with environment variables, accelerate launch, uv
    run and the like before it. It is read as lerobot reads it, its dataset's metadata gives the shapes.

    Exit codes: 0 it fits (or is tight, with a warning), 1 it runs out of memory, 2 the command cannot be
    run as it is (where its memory can be told all the same, it is), 3 it cannot be told. With several cards,
    as by --gpu all, one table compares them; the exit code is then the best of theirs.

    \b
    Examples:
      actprof preflight --gpu "RTX 3090" -- lerobot-train --policy.type=act \\
          --policy.push_to_hub=false --dataset.repo_id=me/pick --dataset.root=data/pick --batch_size=64
      actprof preflight --config outputs/train/act/train_config.json
      actprof preflight --require fits -- $TRAIN && $TRAIN
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    if len(gpu) > 1 or "all" in gpu:
        return _compare(words, gpu, markdown=markdown, as_json=as_json, **options)
    answer = api.preflight(words, **options, gpu=gpu[0] if gpu else None)
    if as_json:
        print_json(answer.to_json())
    elif markdown and answer.result is not None:
        remedy = first_of(answer.result, answer.remedies)
        echo(result_markdown(answer.result, remedy=remedy, steps=answer.run.steps))
    else:
        print_preflight(answer, output())
    if answer.verdict == Verdict.TIGHT:
        echo(f"actprof: warning: tight: {answer.reason}", err=True)
    is_too_tight = answer.verdict == Verdict.TIGHT and require == Verdict.FITS
    return 1 if is_too_tight and answer.exit_code == 0 else answer.exit_code


def _compare(
    words: tuple[str, ...], gpu: tuple[str, ...], *, markdown: bool, as_json: bool, **options: Any
) -> int:
    """Print a table of the same command on several cards, and return the best of their exit codes."""
    names = [card.name for card in builtin_catalogue().cuda] if "all" in gpu else gpu
    answers = []
    with progress_listener(*counting_columns(), start="reading the command") as listener:
        for done, name in enumerate(names):
            listener(Progress(total=len(names), done=done, running=(name,)))
            answers.append(api.preflight(words, **{**options, "remedies": False}, gpu=name))
    told = [answer.result for answer in answers if answer.result is not None]
    if as_json:
        print_json([answer.to_json() for answer in answers])
    elif not told:
        print_preflight(answers[0], output())
    elif markdown:
        echo(cards_markdown(told, steps=answers[0].run.steps))
    else:
        print_cards(told, output(), steps=answers[0].run.steps)
    return min(answer.exit_code for answer in answers)


def print_preflight(answer: Preflight, console: Console) -> None:
    """Print the answer in three lines, memory, the largest batch size, remedies and traps, in this order."""
    result, gpu = answer.result, answer.gpu
    if result is None or gpu is None:
        headline = HEADLINES[answer.verdict].rstrip(".")
        reason = answer.reason.removesuffix(".")
        console.print(f"[{VERDICT_STYLES[answer.verdict]}]{headline}:[/] {escape(reason)}.")
        anyway = "" if answer.launch.on_cpu or answer.run.device == "cpu" else " --anyway"
        console.print(f"What helps: actprof run{anyway}, before the same command, runs and measures it.")
        console.print("How long it takes is not known.")
    else:
        _print_answer(answer, result, console)
        if result.peak_process_bytes:
            console.print()
            print_bars(result, console)
            _print_free(answer, result, console)
            console.print()
            console.print(fact_table(_facts(answer, result)))
            _print_remedies(answer, console)
            print_message(result, console)
    _print_lines("Taken for granted", answer.assumptions, console)
    shown = answer.stops if answer.result is not None and gpu is not None else ()
    _print_lines("Traps", [trap.text for trap in answer.traps if trap not in shown], console)


def _print_answer(answer: Preflight, result: Result, console: Console) -> None:
    stops = "\n".join(f"But it does not start: {trap.text}" for trap in answer.stops)
    duration, hours = answer.duration, None
    cost = ""
    if duration is not None:
        hours = Hours(
            what=steps_text(answer.run.steps), hours=duration.hours, low=duration.hours_low,
            high=duration.hours_high, limit=duration.limited_by,
        )  # fmt: skip
        cost = "" if duration.cost_usd is None else f", for ${duration.cost_usd:.2f}"
    remedy = first_of(result, answer.remedies)
    place = "" if answer.gpu is None else answer.gpu.place
    print_answer(
        result, console, remedy=remedy, hours=hours, place=place, cost=cost, instead=stops, where="below"
    )


def _print_free(answer: Preflight, result: Result, console: Console) -> None:
    if not result.cell.used_by_others_bytes:
        return
    free = max(result.gpu.capacity_bytes - result.cell.used_by_others_bytes, 0)
    holders = ", ".join(
        f"{holder.name or 'a process'} ({holder.pid}) {format_bytes(holder.used_bytes)}"
        for holder in (answer.gpu.holders if answer.gpu else ())
    )
    held = f"  [dim]held by {escape(holders)}[/]" if holders else ""
    console.print(f"{'free':<10}{format_bytes(free):>12}{held}")


def _facts(answer: Preflight, result: Result) -> list[tuple[str, str]]:
    facts = size_facts(result)
    if answer.inputs is not None:
        facts.append(("shapes from", answer.inputs.source))
    if result.cell.alloc_conf:
        facts.append(("allocator", f"{result.cell.alloc_conf} ({answer.settings.variable})"))
    loop = answer.duration
    limit, waiting = ("", None) if loop is None else (loop.limited_by, loop.data_share)
    facts += speed_facts(result, limited_by=limit, data_share=waiting or 0.0)
    facts += [*_duration_facts(answer), *holders_facts(result)]
    if (precision := autocast_of(result.cell)) != "fp32":
        facts.append(("precision", precision))
    took = result.timing.trace_seconds + result.timing.replay_seconds
    facts += [] if answer.host is None else host_facts(answer.host)
    return [*facts, ("took", ("cached trace, " if result.timing.trace_cached else "") + format_seconds(took))]


def _duration_facts(answer: Preflight) -> list[tuple[str, str]]:
    """Return how long all steps take, how often they see the dataset, and what that costs."""
    duration = answer.duration
    if duration is None:
        return []
    low, hours, high = map(hours_text, (duration.hours_low, duration.hours, duration.hours_high))
    text = f"{hours} ({low} to {high})"
    if duration.data_wait_seconds is None:
        text += ", data loading left out (actprof loader measures it)"
    elif duration.data_wait_seconds:
        text += f", {format_seconds(duration.data_wait_seconds)} of each step waiting for data"
    facts = [(steps_text(answer.run.steps), text)]
    if duration.epochs is not None:
        facts.append(("epochs", f"{figure(duration.epochs)} over the dataset"))
    if duration.cost_usd is not None and duration.price is not None:
        price = f"${duration.price.usd_per_hour:.2f} an hour, {duration.price.source}"
        facts.append(("cost", f"${duration.cost_usd:.2f} ({price})"))
    return facts


def _print_remedies(answer: Preflight, console: Console) -> None:
    if not answer.remedies:
        return
    console.print("\n[bold]What helps[/]")
    for remedy in answer.remedies:
        after = remedy.after
        process = format_bytes(after.peak_process_bytes)
        effect = f"{after.verdict}, {process}, at most batch {boundary_text(after)}"
        title = f"{escape(remedy.title)} [dim]({escape(remedy.kind)})[/]"
        print_indented(f"{title}: {escape(effect)}", console, 2)
        print_words(added_words(remedy) or [script_text(remedy)], console)
        if remedy.note:
            print_indented(f"[dim]{escape(remedy.note)}[/]", console, 4)
    asked = cell_command(answer.remedies[0].before.cell, "suggest")
    console.print(f"  [dim]more: {escape(asked)}[/]", soft_wrap=True)


def _print_lines(title: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    console.print(f"\n[bold]{title}[/]")
    for line in lines:
        print_indented(escape(line), console, 2)
