"""Measure how this machine differs from what is predicted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from actprof import api
from actprof.cli.console import messages, number_table, output, print_json, progress_listener
from actprof.cli.options import json_option
from actprof.hardware.own_gpus import shown_path
from actprof.step_time.calibration import own_calibration_file
from actprof.step_time.host import default_host
from actprof.units import format_seconds

if TYPE_CHECKING:
    from actprof.step_time.calibration import Calibration, ProbeTime


@click.command(name="calibrate")
@click.option("--device", default=None, help="cpu, cuda or cuda:1.  [default: the best GPU, else the CPU]")
@click.option(
    "--output", "path", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
    help="Write this file, for --calibration of other commands.  [default: with a GPU your own, which they "
    "use anyway]",
)  # fmt: skip
@json_option
def command(*, device: str | None, path: Path | None, as_json: bool) -> None:
    """Measure how this machine's GPU and host differ from what is predicted of any, and keep it.

    On a CUDA GPU it runs about a minute of short work in a process of its own: copies, elementwise ops,
    reductions, matrix products, attention, convolutions and a small training step. Without one it takes the
    time of that step on the CPU, about a second. Step times of that GPU are predicted with it from then on;
    what is measured without a GPU says little of one's host, and is used only where --calibration names it.

    \b
    Examples:
      actprof calibrate
      actprof calibrate --output h100.json
      actprof predict --gpu H100 --calibration h100.json
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with progress_listener(*columns, start="looking for a GPU") as progress:
        found = api.calibrate(device=device, output=path, progress=progress)
    if as_json:
        print_json(found.to_json())
    else:
        print_calibration(found, output())
    if path is not None or found.gpu:
        written = own_calibration_file() if path is None else path
        messages().print(f"wrote {escape(shown_path(written))}", soft_wrap=True)
    else:
        messages().print("nothing is kept without a GPU; --output FILE writes it, for --calibration")


def print_calibration(found: Calibration, console: Console) -> None:
    """Print what was found: measured beside predicted by group of kernels, the host beside the usual one."""
    if found.factors:
        known = f"{len(found.probes)} pieces of work, measured beside what is predicted without calibration"
        console.print(f"[bold]{escape(found.gpu)}[/]: {known}")
        console.print()
        console.print(_pieces(found))
        console.print()
    elif not found.gpu:
        console.print("[bold]No GPU was measured[/], only what this machine's host takes to dispatch ops.\n")
    console.print(_host(found))
    if not found.launching:
        console.print(
            "[dim]That leaves out what CUDA's libraries and the launch itself take, and the usual host's own "
            "time on the CPU is an estimate: read it as a third up or down.[/]"
        )
    for note in found.notes:
        console.print(f"[yellow]{escape(note)}[/]")


def _pieces(found: Calibration) -> Table:
    table = number_table("kernels", "measured", "predicted", "ratio")
    for group, probes in groupby(found.probes, lambda probe: probe.group):
        factor = found.factors.get(group)
        table.add_row(
            f"[bold]{group}[/]", "", "", "[dim]-[/]" if factor is None else f"[bold]{factor:.2f}[/]"
        )
        for probe in probes:
            table.add_row(f"  {escape(probe.name)}", *_times(probe))
    return table


def _times(probe: ProbeTime) -> Iterator[str]:
    yield format_seconds(probe.seconds)
    yield format_seconds(probe.predicted)
    yield f"[dim]{probe.seconds / probe.predicted:.2f}[/]"


def _host(found: Calibration) -> Table:
    """Return what the passes of a small step take the host, and what a launch costs by that."""
    usual, here = default_host(), found.host or default_host()
    table = number_table("host", "here", usual.name)
    for name in ("forward", "backward", "optimizer"):
        costs = (f"{getattr(host, name) * 1e6:.1f} us" for host in (here, usual))
        table.add_row(f"a kernel, {name}", *costs)
    measured = {"on the GPU": found.launching, "on the CPU": found.dispatching}
    for where, passes in measured.items():
        if passes:
            table.add_row(f"a small training step {where}", format_seconds(sum(passes.values())), "")
    return table
