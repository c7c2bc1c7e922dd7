"""Run one training run for real, on a GPU or the CPU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from actprof import api
from actprof.cli import echo
from actprof.cli.console import (
    boundary_text,
    number_table,
    output,
    plain_table,
    print_json,
    progress_listener,
    verdict_text,
)
from actprof.cli.options import json_option, played_cell_options
from actprof.cli.show_result import fact_table, print_bars, print_verdict
from actprof.errors import UsageError
from actprof.ledger.comparison import Pair
from actprof.measurement import CardUse, DeviceFacts, Measurement
from actprof.policies import tokens_called
from actprof.progress import Listener, Progress
from actprof.results import Result, Verdict
from actprof.snapshots.compare_allocations import Unmatched
from actprof.units import format_bytes, format_seconds

_FAILED = 1
_MOST_UNMATCHED = 15
_DIM: dict[str, Any] = {"header_style": "dim", "style": "dim", "no_wrap": True}


@click.command(name="measure")
@played_cell_options
@click.option("--device", default=None, help="cpu, cuda or cuda:1.  [default: the best GPU, else the CPU]")
@click.option("--boundary", is_flag=True, help="Find the largest batch size that runs, by trying.")
@click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Leave a memory snapshot of PyTorch in this file, for `actprof replay`.",
)
@click.option("--lines", is_flag=True, help="Print memory by source line of the policy's forward instead.")
@click.option("--steps", type=click.IntRange(min=1), help="Time exactly so many steps, without warm-up.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds per process."
)
@json_option
def command(  # noqa: PLR0913 - the options of a command
    *,
    device: str | None,
    boundary: bool,
    snapshot: Path | None,
    lines: bool,
    steps: int | None,
    timeout: float,
    as_json: bool,
    **options: Any,
) -> int:
    """Run one training run for real, on a CUDA GPU of this machine or else on its CPU.

    lerobot's own `update_policy` runs in a process of its own: two steps to warm up, then at least five, for
    20 s at most. With --as or --cap a large card plays a smaller one. The exit code is 1 when the run failed
    for another reason than memory, else 0.

    \b
    Examples:
      actprof measure --batch-size 32
      actprof measure --as "RTX 3090" --batch-size 64 --boundary
      actprof measure --batch-size 8 --snapshot act.pickle
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with progress_listener(*columns, start="looking for a GPU") as progress:
        options |= {"device": device, "timeout": timeout, "progress": progress}
        if lines:
            others = {"--boundary": boundary, "--snapshot": snapshot, "--steps": steps, "--json": as_json}
            if unwanted := " and ".join(name for name, value in others.items() if value):
                raise UsageError(f"--lines prints a table instead of a result; leave out {unwanted}")
            echo(api.measure_lines(**options))
            return 0
        options["steps"] = steps
        repeat = shlex.join(["actprof", *sys.argv[1:]])
        result = api.measure(**options, boundary=boundary, snapshot=snapshot, command=repeat)
        predicted = None if as_json else _predicted(result, progress)
    if as_json:
        print_json(result.to_json(curve=False))
    else:
        print_measured(result, output(), predicted=predicted)
        if snapshot is not None and result.verdict != Verdict.FAILED:
            _print_unmatched(snapshot, api.compare_snapshot(snapshot, result.cell))
    return _FAILED if result.verdict == Verdict.FAILED else 0


def _predicted(result: Result, progress: Listener) -> Result | None:
    """Return the prediction of the same cell; of a run on the CPU, or one that failed, there is none."""
    if result.device is None or result.device.type != "cuda":
        return None
    from actprof.prediction.predict import predict_cell

    progress(Progress(running=("predicting the same run",)))
    return predict_cell(result.cell)


def _print_unmatched(snapshot: Path, rows: Sequence[Unmatched]) -> None:
    """Print what the snapshot and the prediction do not have in common."""
    console = output()
    console.print(f"\nsnapshot  {escape(str(snapshot))}", soft_wrap=True)
    if not rows:
        console.print("Its allocations are those that were predicted, one by one.")
        return
    table = plain_table("only", ">times", ">bytes", "asked by")
    for row in rows[:_MOST_UNMATCHED]:
        table.add_row(row.side, str(row.count), format_bytes(row.size_bytes), escape(row.who))
    console.print(table)
    if len(rows) > _MOST_UNMATCHED:
        console.print(f"and {len(rows) - _MOST_UNMATCHED} smaller ones")


def print_measured(result: Result, console: Console, *, predicted: Result | None = None) -> None:
    """Print the verdict of a real run, on a GPU or the CPU, finished or not; then the numbers behind it.

    What was predicted of the same cell adds a table of both with their difference.
    """
    pair = Pair.of(result, predicted)
    headline = "There is no verdict." if result.on_cpu and result.verdict == Verdict.UNKNOWN else ""
    print_verdict(result, console, headline=headline, place=_place(result))
    if pair.said_runs_ran_out:
        console.print(f"\n[bold white on red]The prediction was {pair.predicted.verdict}: it is wrong.[/]")
    _print_stderr(result, console)
    if result.runs and not result.on_cpu:
        console.print()
        print_bars(result, console)
    facts = fact_table((name, text) for name, text in _facts(result) if text)
    for part in (_comparison(pair), _times(result), facts):
        if part is not None and part.row_count:
            console.print()
            console.print(part)


def _place(result: Result) -> str:
    """Return what it ran on; of a GPU that played another, both."""
    cap = result.measurement.cap_bytes if result.measurement else None
    if cap is None or result.device is None:
        return result.device.name if result.device and result.on_cpu else result.gpu.name
    return f"{result.gpu.name} (played by {result.device.name}, limited to {format_bytes(cap)})"


def _print_stderr(result: Result, console: Console) -> None:
    lines = result.measurement.stderr if result.measurement else ()
    if result.verdict != Verdict.FAILED or not lines:
        return
    console.print("\n[dim]The worker's last lines:[/]")
    for line in lines:
        console.print(f"  {escape(line)}", soft_wrap=True)


def _comparison(pair: Pair) -> Table | None:
    """Return predicted and measured side by side; a difference is predicted minus measured."""
    predicted, run = pair.prediction, pair.run
    if predicted is None:
        return None
    table = number_table("", "measured", "predicted", "difference", **_DIM)
    table.add_row("verdict", verdict_text(run), verdict_text(predicted), _agreement(pair))
    for number in ("allocated", "reserved"):
        said, was = pair.peaks(number)
        table.add_row(number, _size(was), _size(said), _difference(pair, number))
    if pair.step_percent is not None:
        seconds = (format_seconds(one.step_seconds or 0.0) for one in (pair.measured, pair.predicted))
        table.add_row("median step", *seconds, f"{pair.step_percent:+.1f}%")
    if None not in (run.max_batch_size, predicted.max_batch_size):
        table.add_row("largest batch size", boundary_text(run), boundary_text(predicted))
    if run.encoder_tokens or predicted.encoder_tokens:
        counts = (_count(result.encoder_tokens) for result in (run, predicted))
        table.add_row(tokens_called(run.cell.policy), *counts)
    return table


def _agreement(pair: Pair) -> str:
    if pair.said_runs_ran_out:
        return "[bold red]said to run, ran out[/]"
    if pair.same_verdict is None:
        return ""
    return "none" if pair.same_verdict else "[yellow]they differ[/]"


def _size(count: int) -> str:
    return format_bytes(count) if count else "-"


def _count(count: int) -> str:
    return f"{count:,}" if count else "-"


def _difference(pair: Pair, number: str) -> str:
    part, percent = pair.difference_bytes(number), pair.difference_percent(number)
    if part is None or percent is None:
        return "-"
    return f"{'+' if part > 0 else ''}{format_bytes(part)}, {percent:+.1f}%"


def _times(result: Result) -> Table:
    """Return seconds per step, the phases inside it, and what comes before it."""
    table = number_table("seconds per step", "low", "median", "high", **_DIM)
    run = result.measurement or Measurement()
    for name, spread in (
        ("update_policy", result.step_seconds),
        ("  forward", run.forward_seconds),
        ("  backward", run.backward_seconds),
        ("  optimizer", run.optimizer_seconds),
        ("before it: batch", run.data_seconds),
    ):
        if spread is not None:
            table.add_row(name, *map(format_seconds, (spread.low, spread.median, spread.high)))
    return table


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    run, device = result.measurement or Measurement(), result.device
    on_gpu = not result.on_cpu
    if result.samples_per_second is not None:
        yield "samples per second", f"{result.samples_per_second:.1f}"
        yield "steps timed", f"{run.steps}, after {run.warmup_steps} to warm up"
    if on_gpu and result.runs:
        yield "headroom", format_bytes(result.headroom_bytes)
    if result.max_batch_size is not None:
        yield "largest batch size", boundary_text(result)
    if on_gpu and result.verdict != Verdict.FAILED:
        yield "cache flushes", f"{run.allocator_retries} in the whole run"
        yield "spike", _spike(run)
    yield "live tensors", format_bytes(run.live_tensor_bytes) if run.live_tensor_bytes else ""
    yield "resident memory", format_bytes(run.resident_bytes) if run.resident_bytes else ""
    yield tokens_called(result.cell.policy), f"{result.encoder_tokens:,}" if result.encoder_tokens else ""
    yield "parameters", f"{result.parameters:,}" if result.parameters else ""
    if device is not None:
        yield from _device_texts(device)
    if run.card is not None:
        yield from _card_texts(run.card)


def _spike(run: Measurement) -> str:
    if not run.spike_reserved_bytes:
        return ""
    size = format_bytes(run.spike_reserved_bytes)
    return f"{size} reserved beyond the last step's, while cuDNN tried its plans"


def _device_texts(device: DeviceFacts) -> Iterator[tuple[str, str]]:
    if device.type == "cpu":
        yield "device", f"CPU, {device.name}, {device.threads} threads"
        return
    architecture = "sm_" + "".join(map(str, device.compute_capability))
    yield "device", f"GPU {device.index}, {device.name}, {format_bytes(device.total_bytes)}, {architecture}"
    versions = (("driver", device.driver), ("CUDA", device.cuda), ("cuDNN", device.cudnn))
    yield "software", ", ".join(f"{name} {version}" for name, version in versions if version)


def _card_texts(card: CardUse) -> Iterator[tuple[str, str]]:
    low, high = card.sm_clock_mhz
    clocks = f"{low:,} to {high:,} MHz" if high else ""
    heat = f"{card.temperature_c} °C" if card.temperature_c else ""
    yield "clock, temperature", ", ".join(text for text in (clocks, heat) if text)
    yield "throttled", ", ".join(card.throttle_reasons) or "no"
    own = f"this process {format_bytes(card.process_bytes)}, " if card.process_bytes else ""
    yield "on the card", f"{own}others {format_bytes(card.others_bytes)}, all {format_bytes(card.card_bytes)}"
