"""Answer every run of a scenario file and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from actprof import api
from actprof.api.scenarios import CSV_NAME, REPORT_NAME, answer_grid, check_on_cpu, write_results
from actprof.cli import echo
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import gpu_option, jobs_option, machine_options, markdown_option
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_sweep import print_sweep, sweep_markdown
from actprof.errors import StoreError, UsageError
from actprof.progress import Listener, Progress
from actprof.records import to_plain
from actprof.results import MEASURED, SCHEMA_VERSION
from actprof.words import plural

if TYPE_CHECKING:
    import pandas as pd

    from actprof.scenario.grid import Scenario
    from actprof.sweeps.cpu_check import CpuCheck

_CHECKING = (
    "checking on the CPU: each policy takes a real step and is compared, once on a machine; the answers are "
    "there, and Ctrl-C leaves this out"
)


@click.command(name="sweep")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--mode",
    type=click.Choice(["auto", "predict", "measure"]),
    default="auto",
    show_default=True,
    help="auto also measures where the scenario's GPU, or one with its memory, is in this machine.",
)
@gpu_option("Another GPU than the scenario's.")
@machine_options
@jobs_option
@click.option("--fresh", is_flag=True, help="Answer again what is known already.")
@click.option(
    "--no-cpu-check", is_flag=True, help="Leave out running each policy on the CPU and comparing with it."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: reports/<scenario>]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@markdown_option
def command(
    *, scenario: Path, no_cpu_check: bool, out: Path | None, as_json: bool, markdown: bool, **options: Any
) -> None:
    """Answer every run of a scenario file and write a report.

    A second call does only what is missing. The exit code is 0 whatever the verdicts. When the answers are
    there, each policy that was not run on this machine's CPU before is run there and compared with its
    prediction; Ctrl-C leaves that out. A difference has the exit code 1.
    """
    from actprof.sweeps.runner import default_folder

    loaded = api.load_scenario(scenario)
    folder = out or default_folder(loaded)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is not a folder")
    frame, lost = _answer(loaded, out=folder, **options)
    lost = lost or _write(frame, folder)
    if markdown:
        echo(sweep_markdown(frame))
    elif not as_json:
        print_sweep(frame, output())
    if lost is not None:
        raise lost
    if not as_json:
        _print_places(folder, quiet=markdown)
    options.pop("mode")
    checked = None if no_cpu_check else _check_on_cpu(loaded, out=folder, **options)
    if as_json:
        print_json({name: value for name, value in _stored(folder).items() if name != "measuring"})
    elif checked:
        _print_check(checked)


def _answer(scenario: Scenario, **options: Any) -> tuple[pd.DataFrame, StoreError | None]:
    try:
        with progress_listener(*counting_columns(), start="reading what is known") as listener:
            return answer_grid(scenario, listener=listener, **options)
    except KeyboardInterrupt:
        messages().print("what was answered is kept; the same command goes on from there")
        raise


def _write(frame: pd.DataFrame, folder: Path) -> StoreError | None:
    """Write the table and the report; return why not, as on a full disk: the answers are shown anyway."""
    try:
        write_results(frame, folder)
    except StoreError as error:
        return error
    return None


def _check_on_cpu(scenario: Scenario, **options: Any) -> CpuCheck | None:
    """Run on the CPU what was not before; None where that is left out."""
    try:
        with progress_listener(*counting_columns(), start="looking what was checked on the CPU") as bar:
            return check_on_cpu(scenario, listener=_Announced(bar), **options)
    except KeyboardInterrupt:
        messages().print("the check on the CPU is left out; the answers are there")
        return None


class _Announced:
    """Listens for a bar; where none is drawn it says once what is done, when there is something to do."""

    def __init__(self, bar: Listener) -> None:
        self._bar = bar
        self._is_due = not messages().is_terminal

    def __call__(self, progress: Progress) -> None:
        """Say so, and move the bar."""
        if self._is_due and progress.total:
            self._is_due = False
            messages().print(_CHECKING)
        self._bar(progress)


def _print_check(checked: CpuCheck) -> None:
    """Say on stderr which policies were compared with a real run, and which not."""
    notes = messages()
    if checked.agree:
        verb = "agrees" if checked.agree == 1 else "agree"
        count = f"{checked.agree} {plural(checked.agree, 'configuration')}"
        notes.print(f"checked on the CPU: {count} {verb} with the real policy ({checked.ran} run now)")
    for reason in checked.left_out:
        notes.print(f"not checked on the CPU: {escape(reason)}")


def _print_places(folder: Path, *, quiet: bool) -> None:
    """Print what became of measuring, and where everything is; as a note where a table alone is wanted."""
    answers = _stored(folder)
    console = messages() if quiet else output()
    console.print(f"[dim]{escape(_measuring(answers))}[/]")
    console.print(escape(f"results  {folder / 'results.sqlite'}"), soft_wrap=True)
    console.print(escape(f"         {folder / CSV_NAME}"), soft_wrap=True)
    console.print(escape(f"report   {answers['report']}"), soft_wrap=True)


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
            "cpu_checks": to_plain(store.groundings(cells)),
            "report": str(folder / REPORT_NAME),
            "measuring": meta["measuring"],
        }


def _measuring(answers: dict[str, Any]) -> str:
    """Return what was measured, where and why; or why nothing was."""
    said, kept = str(answers["measuring"]), len(answers["measured"])
    if not kept or not said.startswith("not measured"):
        return said
    return f"{said}; {kept} measured earlier {'is' if kept == 1 else 'are'} shown"
