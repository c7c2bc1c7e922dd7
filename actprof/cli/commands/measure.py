"""Run one training run for real, on a GPU or the CPU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from actprof import api
from actprof.cli.console import output, plain_table, print_json, progress_listener
from actprof.cli.options import json_option, played_cell_options
from actprof.cli.show_measurement import print_measured
from actprof.errors import UsageError
from actprof.progress import Listener, Progress
from actprof.results import Result, Verdict
from actprof.snapshots.compare_allocations import Unmatched
from actprof.units import format_bytes

_FAILED = 1
_MOST_UNMATCHED = 15


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
            click.echo(api.measure_lines(**options))
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
