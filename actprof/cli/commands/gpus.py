"""List the GPUs that actprof knows, with the source of each figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cli.console import output, print_json
from actprof.hardware import Catalogue, Gpu, builtin_catalogue
from actprof.hardware.gpu import NVIDIA
from actprof.hardware.own_gpus import own_file, shown_path
from actprof.units import MIB, format_bytes

_FP16_ALONE = "'"
_WIDE = 105  # columns from which on everything finds room
_CAPTION = (
    "memory as torch reports it; context: CUDA's, in MiB for each process; dense TFLOP/s, 16 bit with fp32 "
    "sums (' fp16 alone, no bf16); ~ estimate"
)
_CAPTION_WIDE = "; SM: multiprocessors; MHz: their highest clock; L2 in MiB; W: of the board"


@click.command(name="gpus")
@click.argument("name", required=False)
@click.option("--sources", is_flag=True, help="Show where each figure comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead.")
def command(*, name: str | None, sources: bool, as_json: bool) -> None:
    """List the GPUs that actprof knows; with NAME one of them, with the source of each figure.

    A figure marked with ~ is an estimate. Cards of your own stand in gpus.toml of the configuration folder
    (~/.config/actprof, or $ACTPROF_CONFIG_DIR), in the form that docs/gpus.md shows; a scenario file adds
    some under `gpus:`.
    """
    catalogue = builtin_catalogue()
    gpus = catalogue.gpus if name is None else (catalogue.find(name),)
    if as_json:
        print_json([{**gpu.to_json(), "own": gpu.name in catalogue.own} for gpu in gpus])
        return
    console = output()
    wide = console.width >= _WIDE
    console.print(_table(gpus, catalogue, wide=wide))
    console.print(f"[dim]{_CAPTION}{_CAPTION_WIDE if wide else ''}[/]")
    if name is None:
        _print_local(console)
        _print_own(catalogue, console)
    else:
        for note in catalogue.notes(gpus[0]):
            console.print(f"\n{escape(note)}")
    if sources or name is not None:
        for gpu in gpus:
            console.print(f"\n[bold]{escape(gpu.name)}[/]")
            for field, source in gpu.sources.items():
                console.print(f"  {field}: {source}", markup=False)


def _print_local(console: Console) -> None:
    """Say which GPUs this machine has, and what is free on them."""
    from actprof.measuring.nvml import local_gpus

    found = local_gpus()
    if not found:
        console.print("\nthis machine: no NVIDIA GPU")
    for gpu in found:
        memory = f"{format_bytes(gpu.free_bytes)} free of {format_bytes(gpu.total_bytes)}"
        text = f"\nthis machine: GPU {gpu.index} {gpu.name}, {memory}, driver {gpu.driver}"
        console.print(text, markup=False)


def _print_own(catalogue: Catalogue, console: Console) -> None:
    """Say where cards of one's own are, or would be."""
    count, place = len(catalogue.own), shown_path(own_file())
    cards = "cards of your own, none yet" if not count else f"your own cards ({count})"
    console.print(f"{cards}: {place}", markup=False, soft_wrap=True)


def _table(gpus: Sequence[Gpu], catalogue: Catalogue, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("GPU", no_wrap=True)
    for name in ("memory", "context", "compute\ncapability", "GB/s", "fp32", "tf32", "16 bit"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("SM", "MHz", "L2", "W") if wide else ():
        table.add_column(name, justify="right", no_wrap=True)
    for title, cards in groupby(gpus, key=lambda gpu: _title(gpu, catalogue)):
        if len(gpus) > 1:
            table.add_row(f"[bold]{escape(title)}[/]")
        for gpu in cards:
            table.add_row(*(_columns(gpu) + (_wide_columns(gpu) if wide else [])))
    return table


def _title(gpu: Gpu, catalogue: Catalogue) -> str:
    if gpu.name in catalogue.own:
        return "yours"
    return gpu.generation if gpu.vendor == NVIDIA else f"{gpu.vendor}: capacity only"


def _columns(gpu: Gpu) -> list[str]:
    memory = _mark(gpu, "capacity_bytes", format_bytes(gpu.capacity_bytes))
    if gpu.vendor != NVIDIA:
        return [escape(gpu.name), memory, *["-"] * 6]
    half = _mark(gpu, "fp16_flops", _scaled(gpu.fp16_flops, 1e12))
    fp16_alone = gpu.bf16_flops is None and gpu.fp16_flops is not None
    return [
        escape(gpu.name),
        memory,
        _mark(gpu, "context_bytes", f"{gpu.context_bytes / MIB:.0f}"),
        ".".join(str(part) for part in gpu.compute_capability),
        _mark(gpu, "memory_bandwidth_bytes_per_s", _scaled(gpu.memory_bandwidth_bytes_per_s, 1e9)),
        _mark(gpu, "fp32_flops", _scaled(gpu.fp32_flops, 1e12)),
        _mark(gpu, "tf32_flops", _scaled(gpu.tf32_flops, 1e12)),
        f"{half}{_FP16_ALONE if fp16_alone else ''}",
    ]


def _wide_columns(gpu: Gpu) -> list[str]:
    return [
        _mark(gpu, "multiprocessors", _scaled(gpu.multiprocessors, 1)),
        _mark(gpu, "clock_hz", _scaled(gpu.clock_hz, 1e6)),
        _mark(gpu, "l2_bytes", _scaled(gpu.l2_bytes, MIB)),
        _mark(gpu, "power_watts", _scaled(gpu.power_watts, 1)),
    ]


def _mark(gpu: Gpu, field: str, text: str) -> str:
    return f"~{text}" if gpu.is_estimate(field) and text != "-" else text


def _scaled(value: float | None, unit: float) -> str:
    if value is None:
        return "-"
    return f"{value / unit:.0f}" if value >= 100 * unit else f"{value / unit:.3g}"
