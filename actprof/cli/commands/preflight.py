"""Say whether a lerobot-train command will run out of memory."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof import api
from actprof.cli.answer import HEADLINES, fact_table, print_bars, print_verdict
from actprof.cli.commands.predict import holders_text, speed_facts
from actprof.cli.console import VERDICT_STYLES, boundary_text, output, print_json
from actprof.results import Result, Verdict
from actprof.units import format_bytes, format_seconds
from actprof.words import predict_command

if TYPE_CHECKING:
    from actprof.preflight_check.answer import Preflight


@click.command(name="preflight", context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- lerobot-train ...")
@click.option("--config", type=click.Path(path_type=Path), help="A train_config.json instead of a command.")
@click.option(
    "--gpu", help="A GPU of `actprof gpus`.  [default: --job.target's, else the one in this machine]"
)
@click.option("--capacity", metavar="SIZE", help="Memory of the GPU, like 23.69GiB.  [default: the GPU's]")
@click.option("--used-by-others", metavar="SIZE", help="Memory that other programs hold, of a GPU not here.")
@click.option("--cameras", type=click.IntRange(min=1), help="Where the dataset is not at hand.")
@click.option(
    "--resolution", metavar="WIDTHxHEIGHT", help="Of the cameras, where the dataset is not at hand."
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(*, words: tuple[str, ...], require: str, as_json: bool, **options: Any) -> int:
    """Say whether the lerobot-train command that follows will run out of memory.

    The command stands after --, just as it would be run: with environment variables, accelerate launch, uv
    run and the like before it. It is read as lerobot reads it, its dataset's metadata gives the shapes.

    Exit codes: 0 it fits (or is tight, with a warning), 1 it runs out of memory, 2 the command cannot be
    run as it is, 3 it cannot be told.

    \b
    Examples:
      actprof preflight --gpu "RTX 3090" -- lerobot-train --policy.type=act \\
          --policy.push_to_hub=false --dataset.repo_id=me/pick --dataset.root=data/pick --batch_size=64
      actprof preflight --config outputs/train/act/train_config.json
      actprof preflight --require fits -- $TRAIN && $TRAIN
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    answer = api.preflight(words, **options)
    if as_json:
        print_json(answer.to_json())
    else:
        print_preflight(answer, output())
    if answer.verdict == Verdict.TIGHT:
        click.echo(f"actprof: warning: tight: {answer.reason}", err=True)
    return 1 if answer.verdict == Verdict.TIGHT and require == Verdict.FITS else answer.exit_code


def print_preflight(answer: Preflight, console: Console) -> None:
    """Print verdict, memory, where it runs out, the largest batch size, remedies and traps, in this order."""
    result, gpu = answer.result, answer.gpu
    if result is None or gpu is None:
        headline = HEADLINES[answer.verdict].rstrip(".")
        console.print(f"[{VERDICT_STYLES[answer.verdict]}]{headline}:[/] {escape(_sentence(answer.reason))}")
    else:
        print_verdict(_without_oom(result), console, place=gpu.place)
        if result.peak_process_bytes:
            console.print()
            print_bars(result, console)
            _print_free(answer, console)
            _print_oom(result, console)
            console.print()
            console.print(_facts(answer, result))
            _print_remedies(answer, console)
    _print_lines("Taken for granted", answer.assumptions, console)
    _print_lines("Traps", [trap.text for trap in answer.traps], console)


def _without_oom(result: Result) -> Result:
    from dataclasses import replace

    return replace(result, oom=None)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _print_free(answer: Preflight, console: Console) -> None:
    result, gpu = answer.result, answer.gpu
    if result is None or gpu is None or not result.cell.used_by_others_bytes:
        return
    free = max(result.gpu.capacity_bytes - result.cell.used_by_others_bytes, 0)
    holders = ", ".join(
        f"{holder.name or 'a process'} ({holder.pid}) {format_bytes(holder.used_bytes)}"
        for holder in gpu.holders
    )
    console.print(
        f"{'free':<10}{format_bytes(free):>11}" + (f"  [dim]held by {escape(holders)}[/]" if holders else "")
    )


def _print_oom(result: Result, console: Console) -> None:
    if result.oom is None:
        return
    oom = result.oom
    where = f"step {oom.step}, {oom.phase}" + (f", {oom.module}" if oom.module else "")
    console.print(f"\n[dim]It runs out in[/] {escape(where)} [dim]at[/] {escape(oom.op)}")
    if oom.message:
        console.print(
            f"[dim]PyTorch will say:[/] {escape(oom.message.split(' If reserved but', maxsplit=1)[0])}"
        )


def _facts(answer: Preflight, result: Result) -> Table:
    table = fact_table()
    table.add_row("largest batch size", boundary_text(result))
    table.add_row("headroom", format_bytes(result.headroom_bytes))
    table.add_row("encoder tokens", f"{result.encoder_tokens:,}")
    if answer.inputs is not None:
        table.add_row("shapes from", escape(os.fspath(answer.inputs.source)))
    if result.cell.alloc_conf:
        table.add_row("allocator", escape(f"{result.cell.alloc_conf} ({answer.settings.variable})"))
    loop = answer.duration
    limit, waiting = ("", None) if loop is None else (loop.limited_by, loop.data_share)
    speed = speed_facts(result, limited_by=limit, data_share=waiting or 0.0)
    for name, text in (*speed, *_duration_facts(answer)):
        table.add_row(name, escape(text))
    if result.breakdown is not None:
        when = "where it runs out" if result.oom else "at the peak"
        table.add_row(f"memory {when}", escape(holders_text(result)))
    if result.cell.precision != "fp32":
        table.add_row("precision", result.cell.precision)
    took = result.timing.trace_seconds + result.timing.replay_seconds
    table.add_row("took", ("cached trace, " if result.timing.trace_cached else "") + format_seconds(took))
    return table


def _duration_facts(answer: Preflight) -> list[tuple[str, str]]:
    """Return how long all steps take, how often they see the dataset, and what that costs."""
    duration = answer.duration
    if duration is None:
        return []
    low, hours, high = map(_hours, (duration.hours_low, duration.hours, duration.hours_high))
    text = f"{hours} ({low} to {high})"
    if duration.data_wait_seconds is None:
        text += ", data loading left out (actprof loader measures it)"
    elif duration.data_wait_seconds:
        text += f", {format_seconds(duration.data_wait_seconds)} of each step waiting for data"
    facts = [(f"{answer.run.steps:,} steps", text)]
    if duration.epochs is not None:
        facts.append(("epochs", f"{_figure(duration.epochs)} over the dataset"))
    if duration.cost_usd is not None and duration.price is not None:
        price = f"${duration.price.usd_per_hour:.2f} an hour, {duration.price.source}"
        facts.append(("cost", f"${duration.cost_usd:.2f} ({price})"))
    return facts


def _hours(hours: float) -> str:
    return f"{_figure(hours)} h" if hours >= 1 else format_seconds(3600 * hours)


def _figure(number: float) -> str:
    """Return three digits, and never a power of ten: `1.07`, `106,667`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _print_remedies(answer: Preflight, console: Console) -> None:
    if not answer.remedies:
        return
    console.print("\n[bold]What helps[/]")
    for remedy in answer.remedies:
        after = remedy.after
        effect = (
            f"{after.verdict}, {format_bytes(after.peak_process_bytes)}, at most batch {boundary_text(after)}"
        )
        console.print(f"  {escape(remedy.title)} [dim]({escape(remedy.kind)})[/]: {escape(effect)}")
        variables = [f"{name}={shlex.quote(value)}" for name, value in remedy.environment.items()]
        added = " ".join([*variables, *map(shlex.quote, remedy.flags)])
        script = f"actprof suggest --script {remedy.name} > train.py  # and run that instead of lerobot-train"
        console.print(f"    [cyan]{escape(added or script)}[/]", soft_wrap=True)
        if remedy.note:
            console.print(f"    [dim]{escape(remedy.note)}[/]")
    asked = predict_command(answer.remedies[0].before.cell).replace("actprof predict", "actprof suggest", 1)
    console.print(f"  [dim]more: {escape(asked)}[/]", soft_wrap=True)


def _print_lines(title: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    console.print(f"\n[bold]{title}[/]")
    for line in lines:
        console.print(f"  {escape(line)}")
