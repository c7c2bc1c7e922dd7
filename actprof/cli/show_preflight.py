"""What `actprof preflight` prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from actprof.cli.console import VERDICT_STYLES, boundary_text
from actprof.cli.show_result import (
    HEADLINES,
    fact_table,
    holders_facts,
    oom_sentence,
    print_bars,
    print_verdict,
    size_facts,
    speed_facts,
)
from actprof.preflight_check.preflight import Preflight
from actprof.results import Result
from actprof.units import format_bytes, format_seconds
from actprof.words import cell_command


def print_preflight(answer: Preflight, console: Console) -> None:
    """Print verdict, memory, where it runs out, the largest batch size, remedies and traps, in this order."""
    result, gpu = answer.result, answer.gpu
    if result is None or gpu is None:
        headline = HEADLINES[answer.verdict].rstrip(".")
        reason = answer.reason.removesuffix(".")
        console.print(f"[{VERDICT_STYLES[answer.verdict]}]{headline}:[/] {escape(reason)}.")
    else:
        print_verdict(replace(result, oom=None), console, place=gpu.place)
        if result.peak_process_bytes:
            console.print()
            print_bars(result, console)
            _print_free(answer, result, console)
            _print_oom(result, console)
            console.print()
            console.print(fact_table(_facts(answer, result)))
            _print_remedies(answer, console)
    _print_lines("Taken for granted", answer.assumptions, console)
    _print_lines("Traps", [trap.text for trap in answer.traps], console)


def _print_free(answer: Preflight, result: Result, console: Console) -> None:
    if not result.cell.used_by_others_bytes:
        return
    free = max(result.gpu.capacity_bytes - result.cell.used_by_others_bytes, 0)
    holders = ", ".join(
        f"{holder.name or 'a process'} ({holder.pid}) {format_bytes(holder.used_bytes)}"
        for holder in (answer.gpu.holders if answer.gpu else ())
    )
    held = f"  [dim]held by {escape(holders)}[/]" if holders else ""
    console.print(f"{'free':<10}{format_bytes(free):>11}{held}")


def _print_oom(result: Result, console: Console) -> None:
    oom = result.oom
    if oom is None:
        return
    where = f"step {oom.step}, {oom.phase}" + (f", {oom.module}" if oom.module else "")
    console.print(f"\n[dim]It runs out in[/] {escape(where)} [dim]at[/] {escape(oom.op)}")
    if oom.message:
        console.print(f"[dim]PyTorch will say:[/] {escape(oom_sentence(oom))}")


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
    if result.cell.precision != "fp32":
        facts.append(("precision", result.cell.precision))
    took = result.timing.trace_seconds + result.timing.replay_seconds
    return [*facts, ("took", ("cached trace, " if result.timing.trace_cached else "") + format_seconds(took))]


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
    asked = cell_command(answer.remedies[0].before.cell, "suggest")
    console.print(f"  [dim]more: {escape(asked)}[/]", soft_wrap=True)


def _print_lines(title: str, lines: Sequence[str], console: Console) -> None:
    if not lines:
        return
    console.print(f"\n[bold]{title}[/]")
    for line in lines:
        console.print(f"  {escape(line)}")
