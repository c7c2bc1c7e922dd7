"""What `actprof sweep` prints: peak memory by batch size, one row for each other setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cell import CELL_FIELDS
from actprof.cli.console import VERDICT_STYLES, batch_size_text, plain_table
from actprof.results import PREDICTED, Verdict
from actprof.units import GIB, format_bytes
from actprof.words import rate_text

if TYPE_CHECKING:
    import pandas as pd

_MARKS: dict[str, str] = {
    Verdict.FITS: "",
    Verdict.TIGHT: "~",
    Verdict.OOM: "✗",
    Verdict.UNKNOWN: "?",
    Verdict.FAILED: "!",
}
_ALWAYS = ("resolution", "cameras", "alloc_conf")
_HEADINGS = {"alloc_conf": "allocator", "cameras": "cams", "used_by_others_bytes": "others"}
_ALLOCATORS = {"": "native", "expandable_segments:True": "expandable"}


def print_sweep(frame: pd.DataFrame, console: Console) -> None:
    """Print a table of the predicted and one of the measured rows of `results_frame`, as far as there are."""
    for source, rows in frame.groupby("source", sort=False):
        _print_rows(str(source), rows, console)


def _print_rows(source: str, frame: pd.DataFrame, console: Console) -> None:
    """Print the table, how many have which verdict, and the fastest of the predicted."""
    failed = ", ! failed" if (frame["verdict"] == Verdict.FAILED).any() else ""
    legend = f"(~ runs tightly, ✗ runs out{failed})"
    console.print(f"[bold]Peak reserved memory in GiB by batch size, {source}[/] {legend}")
    console.print(_table(frame))
    counts = frame["verdict"].value_counts()
    parts = [f"[{style}]{counts[name]} {name}[/]" for name, style in VERDICT_STYLES.items() if name in counts]
    cells = "1 cell" if len(frame) == 1 else f"{len(frame)} cells"
    console.print(f"{cells}: {', '.join(parts)}")
    if source == PREDICTED and (fastest := _fastest(frame)):
        console.print(escape(fastest), soft_wrap=True)
    console.print()


def _table(frame: pd.DataFrame) -> Table:
    """Return one row per group of cells that differ in batch size only: need by batch, and the boundary."""
    keys, batches = [*_swept(frame), *_ALWAYS], sorted(frame["batch_size"].unique())
    known = frame["max_batch_size"].notna().any()
    table = plain_table(padding=(0, 1, 0, 0), pad_edge=True)
    for key in keys:
        table.add_column(_heading(key), no_wrap=key != "alloc_conf", overflow="fold")
    for batch in batches:
        table.add_column(str(batch), justify="right", no_wrap=True)
    if known:
        table.add_column("stops above", justify="right")
    for _, group in frame.groupby(keys, sort=False, dropna=False):
        first = group.iloc[0]
        by_batch = {row.batch_size: row for row in group.itertuples()}
        table.add_row(
            *(_short(key, first[key]) for key in keys),
            *(_cell(by_batch.get(batch)) for batch in batches),
            *([_boundary(first["max_batch_size"])] if known else []),
        )
    return table


def _swept(frame: pd.DataFrame) -> list[str]:
    """Return what else than the usual tells the table's rows apart."""
    parts = sorted(CELL_FIELDS, key=lambda part: part.kind not in ("gpu", "capacity", "size"))
    known = [part.name for part in parts if part.kind != "overrides"]
    settings = [*known, *(name for name in frame.columns if name.startswith("set_"))]
    usual = (*_ALWAYS, "batch_size")
    return [name for name in settings if name not in usual and len(frame[name].drop_duplicates()) > 1]


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key.removeprefix("set_").removesuffix("_bytes"))


def _short(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return format_bytes(int(value))
    return _ALLOCATORS.get(str(value), str(value)) if key == "alloc_conf" else str(value)


def _cell(row: Any) -> str:
    if row is None:
        return ""
    is_known = row.peak_reserved_bytes and row.verdict not in (Verdict.UNKNOWN, Verdict.FAILED)
    size = f"{row.peak_reserved_bytes / GIB:.1f}" if is_known else ""
    return f"[{VERDICT_STYLES[row.verdict].removeprefix('bold ')}]{_MARKS[row.verdict]}{size}[/]"


def _boundary(value: Any) -> str:
    import pandas as pd

    return "?" if pd.isna(value) else batch_size_text(int(value))


def _fastest(frame: pd.DataFrame) -> str:
    """Return the cell that fits with the most predicted samples per second; nothing where none is known."""
    known = frame[(frame["verdict"] == Verdict.FITS) & frame["samples_per_second"].notna()]
    if known.empty:
        return ""
    best = known.sort_values("samples_per_second", ascending=False, kind="stable").iloc[0]
    settings = [f"{_heading(key)} {_short(key, best[key])}" for key in _swept(frame)]
    cameras = "1 camera" if best["cameras"] == 1 else f"{best['cameras']} cameras"
    words = [*settings, best["resolution"], cameras, f"batch {best['batch_size']}"]
    speed = f"{rate_text(best['samples_per_second'])} samples/s predicted, limited by {best['limited_by']}"
    return f"fastest that fits: {', '.join(words)}: {speed}"
