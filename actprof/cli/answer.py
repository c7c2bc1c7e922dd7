"""How a predicted or measured `Result` begins on the terminal: verdict, PyTorch's message, memory as bars."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cli.console import VERDICT_STYLES
from actprof.results import Result, Verdict
from actprof.units import format_bytes

HEADLINES = {
    Verdict.FITS: "It fits.",
    Verdict.TIGHT: "It runs, but tightly.",
    Verdict.OOM: "It runs out of memory.",
    Verdict.UNKNOWN: "It cannot be told.",
    Verdict.FAILED: "It failed.",
}
_LABEL_WIDTH = 10
_SIZE_WIDTH = 11


def print_verdict(result: Result, console: Console, *, headline: str = "", place: str = "") -> None:
    """Print the verdict with its reason and, where memory runs out, PyTorch's message.

    Args:
        result: any.
        console: where to.
        headline: instead of the verdict's own.
        place: what the run is on; the GPU of the question if left out.
    """
    style = VERDICT_STYLES[result.verdict]
    said = escape(_sentence(result, place or result.gpu.name))
    console.print(f"[{style}]{headline or HEADLINES[result.verdict]}[/] {said}")
    if result.oom is not None and result.oom.message:
        says = "PyTorch said:" if result.source == "measured" else "PyTorch will say:"
        console.print(f"\n[dim]{says}[/] {escape(_first_sentences(result.oom.message))}")


def print_bars(result: Result, console: Console) -> None:
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
    if band := band_text(result):
        console.print(f"[dim]{band}[/]")
    console.print(f"{_labelled('capacity', capacity)}  [dim]{escape(result.gpu.name)}{_shared(result)}[/]")
    if result.source == "predicted" and most > capacity:
        console.print("[dim]tensors, segments and process are what it takes on a device without limit[/]")


def band_text(result: Result) -> str:
    """Return in a sentence how far repeated runs differ in reserved memory; nothing where they do not."""
    if result.peak_reserved_band_bytes is None:
        return ""
    low, high = result.peak_reserved_band_bytes
    if low == high:
        return ""
    return f"repeated runs reserve {format_bytes(low)} to {format_bytes(high)}: cuDNN times its plans anew"


def fact_table() -> Table:
    """Return an empty table of names and texts."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def _sentence(result: Result, place: str) -> str:
    cell = result.cell
    inputs = f"{cell.cameras_text} at {cell.resolution}, batch size {cell.batch_size}"
    reason = f": {result.reason.rstrip('.')}" if result.reason else ""
    return f"{cell.policy.upper()} with {inputs}, on {place}{reason}."


def _first_sentences(message: str) -> str:
    return message.split(" If reserved but unallocated", maxsplit=1)[0]


def _labelled(label: str, size: int) -> str:
    return f"{label:<{_LABEL_WIDTH}}{format_bytes(size):>{_SIZE_WIDTH}}"


def _shared(result: Result) -> str:
    others = result.cell.used_by_others_bytes
    return f", {format_bytes(others)} of it used by others" if others else ""
