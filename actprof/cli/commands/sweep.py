"""Answer every run of a scenario file and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from actprof import api
from actprof.api.reports import CSV_NAME, REPORT_NAME
from actprof.api.scenarios import answer_grid, check_on_cpu, write_results
from actprof.cli import echo
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import gpu_option, jobs_option, machine_options, markdown_option
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_status import counted, print_status
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


def _settings(_ctx: click.Context, _option: click.Parameter, items: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE texts as a dict.

    Raises:
        click.BadParameter: one is no such text.
    """
    pairs = [item.partition("=") for item in items]
    for item, (name, sign, _value) in zip(items, pairs, strict=True):
        if not (name and sign):
            raise click.BadParameter(f"{item!r} is not NAME=VALUE, like partition=gpu")
    return {name: value for name, _sign, value in pairs}


@click.command(name="sweep")
@click.argument("scenario", type=click.Path(path_type=Path), required=False)
@click.option(
    "--mode",
    type=click.Choice(["auto", "predict", "measure"]),
    default="auto",
    show_default=True,
    help="auto also measures where the scenario's GPU, or one with its memory, is in this machine.",
)
@click.option(
    "--share-gpu",
    is_flag=True,
    help="Measure memory only, with several runs on a GPU as long as they fit: faster, without times.",
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
@click.option(
    "--executor",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    show_default=True,
    help="What runs it: this machine, a Ray cluster (actprof[ray]), or Slurm (actprof[slurm]).",
)
@click.option(
    "--ray-address",
    default="",
    metavar="ADDRESS",
    help="A Ray cluster that is there.  [default: a local one]",
)
@click.option(
    "--slurm",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_settings,
    help="A setting of the jobs, like partition=cpu, time=60, mem_gb=8 or gpu.gres=gpu:a100:1. Repeatable.",
)
@click.option(
    "--runs-per-job", type=click.IntRange(min=1), default=50, show_default=True, help="Of a Slurm job."
)
@click.option(
    "--status",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Only print how far the sweep is whose results are there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@markdown_option
def command(
    *, scenario: Path | None, out: Path | None, as_json: bool, markdown: bool, **options: Any
) -> None:
    """Answer every run of a scenario file and write a report.

    A second call does only what is missing. The exit code is 0 whatever the verdicts. When the answers are
    there, each policy that was not run on this machine's CPU before is run there and compared with its
    prediction; Ctrl-C leaves that out. A difference has the exit code 1.
    """
    no_cpu_check, swept = options.pop("no_cpu_check"), options.pop("status")
    if swept is not None:
        _print_status(swept, as_json=as_json)
        return
    if scenario is None:
        raise UsageError("name a SCENARIO file, or a folder with --status")
    loaded, folder = _loaded(scenario, out)
    _check_size(loaded, in_full=as_json or markdown)
    frame, lost = _answer(loaded, out=folder, **options)
    lost = lost or _write(frame, folder)
    if frame is None:
        _print_counts(folder)
    elif markdown:
        echo(sweep_markdown(frame))
    elif not as_json:
        print_sweep(frame, output())
    if lost is not None:
        raise lost
    if not as_json:
        _print_places(folder, quiet=markdown)
    again = {name: options[name] for name in ("gpu", "jobs", "fresh")}
    checked = None if no_cpu_check else _check_on_cpu(loaded, out=folder, **again)
    if as_json:
        print_json({name: value for name, value in _stored(folder).items() if name != "measuring"})
    elif checked:
        _print_check(checked)


def _loaded(file: Path, out: Path | None) -> tuple[Scenario, Path]:
    """Return the scenario and the folder of its results."""
    from actprof.sweeps.runner import default_folder

    scenario = api.load_scenario(file)
    folder = out or default_folder(scenario)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is not a folder")
    return scenario, folder


def _check_size(scenario: Scenario, *, in_full: bool) -> None:
    """Refuse to print so many runs in full; say that they are not shown."""
    from actprof.sweeps.table import MOST_SHOWN

    if (count := len(scenario.cells)) <= MOST_SHOWN:
        return
    if in_full:
        raise UsageError(
            f"--json and --markdown print at most {MOST_SHOWN:,} runs, and these are {count:,}; leave them "
            f"out, and read {CSV_NAME}"
        )
    messages().print(
        f"{count:,} runs: {CSV_NAME} will have them all; a table and a report are for at most {MOST_SHOWN:,}"
    )


def _print_status(folder: Path, *, as_json: bool) -> None:
    from actprof.sweeps.status import status_of

    status = status_of(folder)
    if as_json:
        alive = status.working is not None and status.working.is_alive
        print_json({"schema_version": SCHEMA_VERSION, **to_plain(status), "is_alive": alive})
    else:
        print_status(status, output())


def _answer(scenario: Scenario, **options: Any) -> tuple[pd.DataFrame | None, StoreError | None]:
    try:
        with progress_listener(*counting_columns(), start="reading what is known") as listener:
            return answer_grid(scenario, listener=listener, **options)
    except KeyboardInterrupt:
        messages().print("what was answered is kept; the same command goes on from there")
        raise


def _print_counts(folder: Path) -> None:
    from actprof.sweeps.status import status_of

    for line in counted(status_of(folder)):
        output().print(line)


def _write(frame: pd.DataFrame | None, folder: Path) -> StoreError | None:
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
    console = messages() if quiet else output()
    console.print(f"[dim]{escape(_measuring(folder))}[/]")
    console.print(escape(f"results  {folder / 'results.sqlite'}"), soft_wrap=True)
    console.print(escape(f"         {folder / CSV_NAME}"), soft_wrap=True)
    if (report := folder / REPORT_NAME).is_file():
        console.print(escape(f"report   {report}"), soft_wrap=True)


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


def _measuring(folder: Path) -> str:
    """Return what was measured, where and why; or why nothing was."""
    from actprof.sweeps.store import ResultsStore

    with ResultsStore(folder, create=False) as store:
        said = str(store.meta()["measuring"])
        kept = sum(count for (source, _verdict), count in store.counts().items() if source == MEASURED)
    if not kept or not said.startswith("not measured"):
        return said
    return f"{said}; {kept} measured earlier {'is' if kept == 1 else 'are'} shown"
