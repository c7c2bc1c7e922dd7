"""List the GPUs that actprof knows, with the source of each figure."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from actprof.cli.console import output, print_json
from actprof.hardware import Gpu, all_gpus, find_gpu
from actprof.units import format_bytes


@click.command(name="gpus")
@click.argument("name", required=False)
@click.option("--sources", is_flag=True, help="Show where each figure comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead.")
def command(*, name: str | None, sources: bool, as_json: bool) -> None:
    """List the GPUs that actprof knows; with NAME one of them, with the source of each figure.

    A figure marked with ~ is an estimate. A scenario file adds GPUs of your own under `gpus:`.
    """
    gpus = all_gpus() if name is None else (find_gpu(name),)
    if as_json:
        print_json([gpu.to_json() for gpu in gpus])
        return
    console = output()
    console.print(_table(gpus))
    if name is None:
        _print_local(console)
    if sources or name is not None:
        for gpu in gpus:
            console.print(f"\n[bold]{gpu.name}[/]")
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


def _table(gpus: tuple[Gpu, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("GPU", no_wrap=True)
    for name in ("capacity", "context", "cc", "GB/s", "fp32", "tf32", "bf16", "fp16"):
        table.add_column(name, justify="right", no_wrap=True)
    for gpu in gpus:
        table.add_row(
            gpu.name,
            _mark(gpu, "capacity_bytes", format_bytes(gpu.capacity_bytes)),
            _mark(gpu, "context_bytes", format_bytes(gpu.context_bytes, digits=0)),
            ".".join(str(part) for part in gpu.compute_capability),
            _mark(gpu, "memory_bandwidth_bytes_per_s", _scaled(gpu.memory_bandwidth_bytes_per_s, 1e9)),
            *(
                _mark(gpu, field, _scaled(getattr(gpu, field), 1e12))
                for field in ("fp32_flops", "tf32_flops", "bf16_flops", "fp16_flops")
            ),
        )
    table.caption = "capacity as torch reports it, CUDA context per process; dense TFLOP/s; ~ estimate"
    table.caption_justify = "left"
    return table


def _mark(gpu: Gpu, field: str, text: str) -> str:
    return f"~{text}" if gpu.is_estimate(field) else text


def _scaled(value: float | None, unit: float) -> str:
    if value is None:
        return "-"
    return f"{value / unit:.0f}" if value >= 100 * unit else f"{value / unit:.3g}"
