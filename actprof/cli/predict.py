"""`actprof predict`: one cell, no file."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.api import predict
from actprof.cli.console import VERDICT_STYLES, boundary_text, output, print_json
from actprof.cli.options import cell_options
from actprof.results import Result
from actprof.units import format_bytes, format_seconds

_HEADLINES = {
    "fits": "It fits.",
    "tight": "It runs, but tightly.",
    "oom": "It runs out of memory.",
    "unknown": "It cannot be told.",
}
_LABEL_WIDTH = 10
_SIZE_WIDTH = 11


@click.command(name="predict")
@cell_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(*, as_json: bool, **options: Any) -> None:
    """Predict one training run, without a GPU.

    lerobot's own training step runs on tensors without data; every allocation goes through PyTorch's
    allocator rules. The exit code is 0 whatever the verdict.

    \b
    Example:
      actprof predict --set chunk_size=50 --set n_action_steps=50 --batch-size 64 --gpu "RTX 3090"
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    result = predict(**options)
    if as_json:
        print_json(result.to_json(curve=False))
    else:
        print_result(result, output())


def print_result(result: Result, console: Console) -> None:
    """Print a verdict, then the numbers behind it."""
    style = VERDICT_STYLES[result.verdict]
    console.print(f"[{style}]{_HEADLINES[result.verdict]}[/] {escape(_sentence(result))}")
    if result.verdict == "unknown":
        return
    if result.oom is not None:
        console.print(f"\n[dim]PyTorch will say:[/] {escape(_first_sentences(result.oom.message))}")
    console.print()
    _print_bars(result, console)
    console.print()
    console.print(_facts(result))


def _sentence(result: Result) -> str:
    cell = result.cell
    inputs = f"{cell.cameras_text} at {cell.resolution}, batch size {cell.batch_size}"
    return f"{cell.policy.upper()} with {inputs}, on {result.gpu.name}: {result.reason}."


def _first_sentences(message: str) -> str:
    return message.split(" If reserved but unallocated", maxsplit=1)[0]


def _print_bars(result: Result, console: Console) -> None:
    """Print the three memory numbers as bars against what the device has for this process."""
    capacity = result.gpu.capacity_bytes
    rows = (
        ("tensors", result.peak_allocated_bytes, "allocated"),
        ("segments", result.peak_reserved_bytes, "reserved"),
        ("process", result.peak_process_bytes, "reserved + CUDA context"),
    )
    most = max(capacity, result.peak_process_bytes)
    width = max(min(console.width, 100) - _LABEL_WIDTH - _SIZE_WIDTH - 30, 10)
    for label, size, what in rows:
        filled = round(size / most * width)
        limit = round(capacity / most * width)
        inside, beyond = min(filled, limit), max(filled - limit, 0)
        bar = f"[green]{'█' * inside}[/][red]{'█' * beyond}[/]"
        rest = "░" * max(limit - inside, 0) + " " * (width - max(filled, limit))
        console.print(f"{_labelled(label, size)}  {bar}[dim]{rest}[/]  [dim]{what}[/]", no_wrap=True)
    console.print(f"{_labelled('capacity', capacity)}  [dim]{result.gpu.name}{_shared(result)}[/]")


def _labelled(label: str, size: int) -> str:
    return f"{label:<{_LABEL_WIDTH}}{format_bytes(size):>{_SIZE_WIDTH}}"


def _shared(result: Result) -> str:
    others = result.cell.used_by_others_bytes
    return f", {format_bytes(others)} of it used by others" if others else ""


def _facts(result: Result) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("largest batch size", boundary_text(result))
    table.add_row("headroom", format_bytes(result.headroom_bytes))
    table.add_row("encoder tokens", f"{result.encoder_tokens:,}")
    table.add_row("parameters", f"{result.parameters:,}")
    if result.breakdown is not None:
        when = "where it runs out" if result.oom else "at the peak"
        table.add_row(f"memory {when}", escape(_shares(result)))
    table.add_row("took", escape(_took(result)))
    return table


def _shares(result: Result) -> str:
    """Return the largest holders: activations by component, everything else by kind."""
    breakdown = result.breakdown
    if breakdown is None:
        return ""
    holders = {f"{name} activations": sum(parts.values()) for name, parts in breakdown.activations.items()}
    holders |= {name: size for name, size in breakdown.by_kind.items() if name != "activations"}
    largest = sorted(holders.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"{name} {size / breakdown.allocated_bytes:.0%}" for name, size in largest)


def _took(result: Result) -> str:
    timing = result.timing
    trace = "cached trace" if timing.trace_cached else f"traced in {format_seconds(timing.trace_seconds)}"
    return f"{trace}, replayed in {format_seconds(timing.replay_seconds)}"
