"""`actprof measure`: one cell, for real."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from actprof import api
from actprof.cli.console import output, print_json, progress_bar
from actprof.cli.measured import print_measured
from actprof.cli.options import played_cell_options
from actprof.results import Result

_FAILED = 1


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(
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
    with _progress() as progress:
        options |= {"device": device, "timeout": timeout, "progress": progress}
        if lines:
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
    return _FAILED if result.verdict == "error" else 0


def _predicted(result: Result, progress: Callable[[str], None]) -> Result | None:
    """Return the prediction of the same cell; of a run on the CPU, or one that failed, there is none."""
    if result.device is None or result.device.type != "cuda":
        return None
    from actprof.prediction import predict_cell

    progress("predicting the same run")
    return predict_cell(result.cell)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    with progress_bar(SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}")) as progress:
        task = progress.add_task("looking for a GPU", total=None)
        yield lambda text: progress.update(task, description=text)
