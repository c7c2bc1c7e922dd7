"""Answer every cell of a scenario file and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from actprof import api
from actprof.api.scenarios import CSV_NAME, REPORT_NAME
from actprof.cli.console import output, print_json, progress_listener
from actprof.cli.options import jobs_option
from actprof.cli.show_sweep import print_sweep
from actprof.errors import UsageError
from actprof.records import to_plain
from actprof.results import MEASURED, SCHEMA_VERSION


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
