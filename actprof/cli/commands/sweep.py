"""Answer every cell of a scenario file and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from actprof import api
from actprof.api.scenarios import CSV_NAME, REPORT_NAME
from actprof.cell import CELL_FIELDS
from actprof.cli.console import (
    VERDICT_STYLES,
    batch_size_text,
    output,
    plain_table,
    print_json,
    progress_listener,
)
from actprof.cli.options import complete_gpu, jobs_option
from actprof.errors import UsageError
from actprof.records import to_plain
from actprof.results import MEASURED, PREDICTED, SCHEMA_VERSION, Verdict
from actprof.units import GIB, format_bytes
from actprof.words import images_text, plural, rate_text

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


@click.command(name="sweep")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--mode",
    type=click.Choice(["auto", "predict", "measure"]),
    default="auto",
    show_default=True,
    help="auto also measures where the scenario's GPU, or one with its memory, is in this machine.",
)
@click.option("--gpu", shell_complete=complete_gpu, default=None, help="Another GPU than the scenario's.")
@jobs_option
@click.option("--fresh", is_flag=True, help="Answer again what is known already.")
@click.option("--no-ground", is_flag=True, help="Leave out the real runs on the CPU.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: reports/<scenario>]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(*, scenario: Path, no_ground: bool, out: Path | None, as_json: bool, **options: Any) -> None:
    """Answer every cell of a scenario file and write a report.

    A second run does only what is missing. The exit code is 0 whatever the verdicts.
    """
    from actprof.sweeps.runner import default_folder

    loaded = api.load_scenario(scenario)
    folder = out or default_folder(loaded)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is not a folder")
    columns = (
        BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with progress_listener(*columns, start="starting") as listener:
        frame = api.sweep(loaded, ground=not no_ground, out=folder, listener=listener, **options)
    answers = _stored(folder)
    if as_json:
        print_json({name: value for name, value in answers.items() if name != "measuring"})
        return
    console = output()
    print_sweep(frame, console)
    console.print(f"[dim]{escape(_measuring(answers))}[/]")
    console.print(f"results  {folder / 'results.sqlite'}\n         {folder / CSV_NAME}")
    console.print(f"report   {answers['report']}", soft_wrap=True)


def _stored(folder: Path) -> dict[str, Any]:
    """Return what the store in `folder` answers, and what became of measuring."""
    from actprof.cell import Cell
    from actprof.sweeps.store import ResultsStore

    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        cells = [Cell.from_json(cell) for cell in meta["cells"]]
        return {
            "schema_version": SCHEMA_VERSION,
            "scenario": meta["name"],
            "results": [result.to_json(curve=False) for result in store.results(cells)],
            "measured": [result.to_json(curve=False) for result in store.results(cells, source=MEASURED)],
            "groundings": to_plain(store.groundings(cells)),
            "report": str(folder / REPORT_NAME),
            "measuring": meta["measuring"],
        }


def _measuring(answers: dict[str, Any]) -> str:
    """Return what was measured, where and why; or why nothing was."""
    said, kept = str(answers["measuring"]), len(answers["measured"])
    if not kept or not said.startswith("not measured"):
        return said
    return f"{said}; {kept} measured earlier {'is' if kept == 1 else 'are'} shown"


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

    return [name for name in settings if name not in usual and varies(name)]


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key.removeprefix("set_").replace("peft_", "peft.").removesuffix("_bytes"))


def _short(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.endswith("_bytes"):
        return format_bytes(int(value))
    if key == "resolution":
        return images_text(1, value)
    if str(value) in ("True", "False"):  # pandas has a type of its own for them
        return "on" if value else "off"
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
    swept = [key for key in _swept(frame) if best[key] is not None]
    settings = [f"{_heading(key)} {_short(key, best[key])}" for key in swept]
    count = int(best["cameras"])
    views = [_short("resolution", best["resolution"])] if count else []
    words = [*settings, *views, f"{count or 'no'} {plural(count, 'camera')}", f"batch {best['batch_size']}"]
    speed = f"{rate_text(best['samples_per_second'])} samples/s predicted, limited by {best['limited_by']}"
    return f"fastest that fits: {', '.join(words)}: {speed}"
