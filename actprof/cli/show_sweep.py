"""A sweep's table: what each run takes by batch size, what becomes of it, and what cannot be told and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from actprof.cell import CELL_FIELDS
from actprof.cli.console import VERDICT_STYLES, batch_size_text, plain_table
from actprof.cli.markdown import markdown_table
from actprof.results import PREDICTED, Verdict
from actprof.units import GIB, format_bytes
from actprof.words import LIMITS, images_text, plural, rate_text, says_strategy

if TYPE_CHECKING:
    import pandas as pd

_MARKS: dict[str, str] = {
    Verdict.FITS: "",
    Verdict.TIGHT: "~",
    Verdict.OOM: "✗",
    Verdict.UNKNOWN: "?",
    Verdict.FAILED: "!",
}
# Behind a number of runs.
COUNTED: dict[str, str] = {
    Verdict.FITS: "fit",
    Verdict.TIGHT: "tight",
    Verdict.OOM: "out of memory",
    Verdict.UNKNOWN: "cannot be told",
    Verdict.FAILED: "failed",
}
_ALWAYS = ("resolution", "cameras", "alloc_conf")
_HEADINGS = {
    "alloc_conf": "allocator", "used_by_others_bytes": "used by others", "world_size": "GPUs",
    "find_unused_parameters": "find unused", "gradient_as_bucket_view": "bucket view",
    "reshard_after_forward": "reshard", "wrap_modules": "units",
}  # fmt: skip
_ALLOCATORS = {"": "default", "expandable_segments:True": "expandable"}
_LARGEST = "largest batch size"
_TITLE = "Process memory in GiB by batch size"
_WHAT = "reserved + CUDA context, what nvidia-smi shows"
_ABOVE = (
    "what is above the card's memory is what the run takes without limit; a tight run gets through all the "
    "same, as the allocator gives back at the limit what it cached"
)
_BELOW = (
    "a run below it is tight where less than 3 % of the card is to spare, or repeated runs may reserve more"
)
_MOST_REASONS = 10


@dataclass(frozen=True, slots=True)
class _Grid:
    """The table as texts: headings of the settings, batch sizes, and rows of settings, figures, boundary."""

    settings: tuple[str, ...]
    batches: tuple[int, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...], str], ...]
    has_boundary: bool


def print_sweep(frame: pd.DataFrame, console: Console) -> None:
    """Print a table of the predicted and one of the measured rows of `results_frame`, as far as there are."""
    for source, rows in frame.groupby("source", sort=False):
        console.print(f"[bold]{_TITLE}, {source}[/] ({_WHAT})")
        for line in _legend(rows):
            console.print(f"[dim]{line}[/]")
        _print_grid(_grid(rows), console)
        console.print(_counts(rows))
        for said in _untold(rows):
            console.print(escape(f"  {said}"), soft_wrap=True)
        if source == PREDICTED and (fastest := _fastest(rows)):
            console.print(escape(fastest))
        console.print()


def sweep_markdown(frame: pd.DataFrame) -> str:
    """Return the same for an issue or a pull request."""
    parts = []
    for source, rows in frame.groupby("source", sort=False):
        grid = _grid(rows)
        heads = [*grid.settings, *(f">{batch}" for batch in grid.batches)]
        heads += [f">{_LARGEST}"] if grid.has_boundary else []
        table = markdown_table(
            heads,
            (
                [*settings, *(text for text, _verdict in figures), *([last] if grid.has_boundary else [])]
                for settings, figures, last in grid.rows
            ),
        )
        untold = [f"- {said}" for said in _untold(rows)]
        said = [f"{_TITLE}, {source} ({_WHAT})", table, *_legend(rows), _counts(rows, styled=False)]
        parts.append("\n\n".join([*said, *(["\n".join(untold)] if untold else [])]))
    return "\n\n".join(parts)


def _legend(frame: pd.DataFrame) -> Iterator[str]:
    """Yield what the marks mean that occur, and how a run that goes on can take more than there is."""
    verdicts = set(frame["verdict"])
    marks = [f"{mark} {COUNTED[name]}" for name, mark in _MARKS.items() if mark and name in verdicts]
    if marks:
        yield ", ".join(marks)
    others = set(frame["used_by_others_bytes"])
    if len(others) == 1 and any(others):
        yield f"beside {format_bytes(int(others.pop()))} that other programs hold on the card"
    tight = frame["verdict"] == Verdict.TIGHT
    if (tight & (frame["peak_process_bytes"] > frame["capacity_bytes"])).any():
        yield _ABOVE
    if (tight & (frame["peak_process_bytes"] <= frame["capacity_bytes"])).any():
        yield _BELOW


def _counts(frame: pd.DataFrame, *, styled: bool = True) -> str:
    counts = frame["verdict"].value_counts()
    said = {name: f"{counts[name]} {word}" for name, word in COUNTED.items() if name in counts}
    if len(frame) == 1:
        said = {name: text.removeprefix("1 ").replace("fit", "fits") for name, text in said.items()}
    parts = [f"[{VERDICT_STYLES[Verdict(n)]}]{text}[/]" if styled else text for n, text in said.items()]
    return f"{len(frame)} {plural(len(frame), 'run')}: {', '.join(parts)}"


def _untold(frame: pd.DataFrame) -> Iterator[str]:
    """Yield each reason for which runs cannot be told, the most frequent first."""
    unknown = frame[frame["verdict"].isin([Verdict.UNKNOWN, Verdict.FAILED])]
    reasons = unknown["reason"].value_counts()
    for reason, count in reasons[:_MOST_REASONS].items():
        yield f"{count} {plural(count, 'run')}: {reason}"
    if more := len(reasons[_MOST_REASONS:]):
        yield f"and {more} other {plural(more, 'reason')}; results.csv has them all"


def _print_grid(grid: _Grid, console: Console, start: int = 0) -> None:
    """Print the grid as a table, or where that is too wide as several, each with some of the batch sizes."""
    end = len(grid.batches)
    while end - start > 1 and _least_width(_table(grid, start, end), console) > console.width:
        end -= 1
    console.print(_table(grid, start, end))
    if end < len(grid.batches):
        console.print()
        _print_grid(grid, console, end)


def _least_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=1000), table).minimum


def _table(grid: _Grid, start: int, end: int) -> Table:
    table = plain_table(padding=(0, 1, 0, 0), pad_edge=True)
    is_last = grid.has_boundary and end == len(grid.batches)
    for name in grid.settings:
        table.add_column(name, overflow="fold", no_wrap=name != "allocator")
    for batch in grid.batches[start:end]:
        table.add_column(str(batch), justify="right", no_wrap=True)
    if is_last:
        table.add_column(_LARGEST, justify="right")
    for settings, figures, boundary in grid.rows:
        shown = [
            f"[{VERDICT_STYLES[Verdict(verdict)].removeprefix('bold ')}]{text}[/]" if verdict else ""
            for text, verdict in figures[start:end]
        ]
        table.add_row(*map(escape, settings), *shown, *([boundary] if is_last else []))
    return table


def _grid(frame: pd.DataFrame) -> _Grid:
    """Return one row per group of runs that differ in batch size only: need by batch, and the boundary."""
    keys, batches = [*_swept(frame), *_ALWAYS], sorted(map(int, frame["batch_size"].unique()))
    rows = []
    for _, group in frame.groupby(keys, sort=False, dropna=False):
        by_batch = {row.batch_size: row for row in group.itertuples()}
        limits = group["max_batch_size"].dropna()
        settings = tuple(_short(key, group.iloc[0][key]) for key in keys)
        figures = tuple(_figure(by_batch.get(batch)) for batch in batches)
        rows.append((settings, figures, batch_size_text(int(limits.iloc[0])) if len(limits) else "?"))
    headings = tuple(_heading(key) for key in keys)
    return _Grid(headings, tuple(batches), tuple(rows), bool(frame["max_batch_size"].notna().any()))


def _swept(frame: pd.DataFrame) -> list[str]:
    """Return what else than the usual tells the table's rows apart; a field of one policy is no other's."""
    from actprof.sweeps.table import OPTION_COLUMNS

    parts = sorted(CELL_FIELDS, key=lambda part: part.kind not in ("gpu", "capacity", "size"))
    known = [part.name for part in parts if part.kind != "overrides"]
    settings = [*known, *(name for name in frame.columns if name.startswith(OPTION_COLUMNS))]
    usual = (*_ALWAYS, "batch_size")

    def varies(name: str) -> bool:
        apart = name.startswith(OPTION_COLUMNS)
        groups = [group for _, group in frame.groupby("policy")] if apart else [frame]
        return any(len(group[name].drop_duplicates()) > 1 for group in groups)

    swept = [name for name in settings if name not in usual and varies(name)]
    pairs = set(zip(frame["world_size"], frame["strategy"], strict=True))
    said = "world_size" in swept and says_strategy(pairs)
    return [name for name in swept if not (said and name == "strategy")]


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key.removeprefix("set_").replace("peft_", "peft.").removesuffix("_bytes"))


def _short(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.endswith("_bytes"):
        return "" if value != value else format_bytes(int(value))  # noqa: PLR0124 - pandas' NaN
    if key == "resolution":
        return images_text(1, value)
    if str(value) in ("True", "False"):  # pandas has a type of its own for them
        return "on" if value else "off"
    return _ALLOCATORS.get(str(value), str(value)) if key == "alloc_conf" else str(value)


def _figure(row: Any) -> tuple[str, str]:
    """Return the mark and the GiB of a run, and its verdict; nothing of one that is not in the grid."""
    if row is None:
        return "", ""
    is_known = row.peak_process_bytes and row.verdict not in (Verdict.UNKNOWN, Verdict.FAILED)
    size = f"{row.peak_process_bytes / GIB:.1f}" if is_known else ""
    return f"{_MARKS[row.verdict]}{size}", row.verdict


def _fastest(frame: pd.DataFrame) -> str:
    """Return the run that fits with the most predicted samples per second; nothing where none is known."""
    known = frame[(frame["verdict"] == Verdict.FITS) & frame["samples_per_second"].notna()]
    if known.empty:
        return ""
    best = known.sort_values("samples_per_second", ascending=False, kind="stable").iloc[0]
    swept = [key for key in _swept(frame) if best[key] is not None]
    settings = [f"{_heading(key)} {_short(key, best[key])}" for key in swept]
    count = int(best["cameras"])
    views = [_short("resolution", best["resolution"])] if count else []
    words = [*settings, *views, f"{count or 'no'} {plural(count, 'camera')}", f"batch {best['batch_size']}"]
    limit = best["limited_by"]
    speed = (
        f"{rate_text(best['samples_per_second'])} samples/s predicted, limited by {LIMITS.get(limit, limit)}"
    )
    return f"fastest that fits: {', '.join(words)}: {speed}"
