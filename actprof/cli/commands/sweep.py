"""Answer every cell of a scenario file and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from actprof import api
from actprof.cli.console import VERDICT_STYLES, batch_size_text, output, print_json, progress_bar
from actprof.errors import UsageError
from actprof.results import MEASURED, PREDICTED, Verdict
from actprof.units import GIB, format_bytes
from actprof.words import rate_text


@click.command(name="sweep")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--mode",
    type=click.Choice(["auto", "predict", "measure"]),
    default="auto",
    show_default=True,
    help="auto also measures where the scenario's GPU, or one with its memory, is in this machine.",
)
@click.option("--gpu", default=None, help="Another GPU than the scenario's.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one per core]"
)
@click.option("--fresh", is_flag=True, help="Answer again what is known already.")
@click.option("--no-ground", is_flag=True, help="Leave out the real runs on the CPU.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: reports/<scenario>]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(
    *,
    scenario: Path,
    mode: str,
    gpu: str | None,
    jobs: int | None,
    fresh: bool,
    no_ground: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Answer every cell of a scenario file and write a report.

    A second run does only what is missing. The exit code is 0 whatever the verdicts.
    """
    from actprof.sweeps.runner import default_folder

    loaded = api.load_scenario(scenario)
    folder = out or default_folder(loaded)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is not a folder")
    with _progress() as progress:
        task = progress.add_task("starting", total=None)

        def listener(state: Any) -> None:
            progress.update(
                task, total=state.total, completed=state.done, description=_running(state.running)
            )

        frame = api.sweep(
            loaded, mode=mode, gpu=gpu, jobs=jobs, fresh=fresh, ground=not no_ground, out=folder,
            listener=listener,
        )  # fmt: skip
    if as_json:
        print_json(_as_json(folder))
        return
    console = output()
    for source, rows in frame.groupby("source", sort=False):
        _print_rows(str(source), rows, console)
    console.print(f"[dim]{_measuring(folder)}[/]")
    console.print(f"results  {folder / 'results.sqlite'}\n         {folder / api.CSV_NAME}")
    console.print(f"report   {folder / api.REPORT_NAME}", soft_wrap=True)


_MARKS: dict[str, str] = {
    Verdict.FITS: "",
    Verdict.TIGHT: "~",
    Verdict.OOM: "✗",
    Verdict.UNKNOWN: "?",
    Verdict.FAILED: "!",
}


def _print_rows(source: str, frame: Any, console: Console) -> None:
    """Print the table of predicted or of measured rows, and how many have which verdict."""
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


def _fastest(frame: Any) -> str:
    """Return the cell that fits with the most predicted samples per second; nothing where none is known."""
    known = frame[(frame["verdict"] == Verdict.FITS) & frame["samples_per_second"].notna()]
    if known.empty:
        return ""
    best = known.loc[known["samples_per_second"].astype(float).idxmax()]
    settings = [f"{_heading(key)} {_short(key, best[key])}" for key in _swept(frame)[:-3]]
    cameras = "1 camera" if best["cameras"] == 1 else f"{best['cameras']} cameras"
    words = [*settings, best["resolution"], cameras, f"batch {best['batch_size']}"]
    speed = f"{rate_text(best['samples_per_second'])} samples/s predicted, limited by {best['limited_by']}"
    return f"fastest that fits: {', '.join(words)}: {speed}"


def _measuring(folder: Path) -> str:
    """Return what was measured, where and why; or why nothing was."""
    from actprof.scenario import Cell
    from actprof.sweeps.store import ResultsStore

    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        kept = len(store.results([Cell.from_json(cell) for cell in meta["cells"]], source=MEASURED))
    said = escape(meta["measuring"])
    if not kept or not said.startswith("not measured"):
        return said
    return f"{said}; {kept} measured earlier {'is' if kept == 1 else 'are'} shown"


def _progress() -> Progress:
    return progress_bar(
        BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    )


def _running(labels: tuple[str, ...]) -> str:
    if not labels:
        return ""
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return labels[0] + more


def _as_json(folder: Path) -> dict[str, Any]:
    from actprof.results import SCHEMA_VERSION
    from actprof.scenario import Cell
    from actprof.sweeps.store import ResultsStore

    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        cells = [Cell.from_json(cell) for cell in meta["cells"]]
        return {
            "schema_version": SCHEMA_VERSION,
            "scenario": meta["name"],
            "results": [result.to_json(curve=False) for result in store.results(cells)],
            "measured": [r.to_json(curve=False) for r in store.results(cells, source=MEASURED)],
            "groundings": [grounding.to_json() for grounding in store.groundings(cells)],
            "report": str(folder / api.REPORT_NAME),
        }


def _table(frame: Any) -> Table:
    """Return one row per group of cells that differ in batch size only: need by batch, and the boundary."""
    batches = sorted(frame["batch_size"].unique())
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
    )
    keys = _swept(frame)
    for key in keys:
        table.add_column(_heading(key), no_wrap=key != "alloc_conf", overflow="fold")
    for batch in batches:
        table.add_column(str(batch), justify="right", no_wrap=True)
    known = frame["max_batch_size"].notna().any()
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


def _swept(frame: Any) -> list[str]:
    """Return the columns that tell the table's rows apart: the usual ones, and whatever else is swept."""
    usual = ["resolution", "cameras", "alloc_conf"]
    settings = ["gpu", "capacity_bytes", "used_by_others_bytes", "policy", "state_dim", "action_dim"]
    settings += ["optimizer", "precision", "cudnn_benchmark"]
    settings += [name for name in frame.columns if name.startswith("set_")]
    return [*(name for name in settings if len(frame[name].drop_duplicates()) > 1), *usual]


def _heading(key: str) -> str:
    short = {"alloc_conf": "allocator", "cameras": "cams", "used_by_others_bytes": "others"}
    return short.get(key, key.removeprefix("set_").removesuffix("_bytes"))


def _short(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return format_bytes(int(value))
    if key != "alloc_conf":
        return str(value)
    return {"": "native", "expandable_segments:True": "expandable"}.get(str(value), str(value))


def _cell(row: Any) -> str:
    if row is None:
        return ""
    style = VERDICT_STYLES[row.verdict].removeprefix("bold ")
    mark = {
        Verdict.FITS: "",
        Verdict.TIGHT: "~",
        Verdict.OOM: "✗",
        Verdict.UNKNOWN: "?",
        Verdict.FAILED: "!",
    }[row.verdict]
    is_known = row.peak_reserved_bytes and row.verdict not in (Verdict.UNKNOWN, Verdict.FAILED)
    size = f"{row.peak_reserved_bytes / GIB:.1f}" if is_known else ""
    return f"[{style}]{mark}{size}[/]"


def _boundary(value: Any) -> str:
    import pandas as pd

    return "?" if pd.isna(value) else batch_size_text(int(value))
