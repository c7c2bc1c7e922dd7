"""Measure how fast a dataset loads here, and what keeps a step fed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof import api
from actprof.api.measurements import keep_loading
from actprof.api.reports import LOADING_NAME
from actprof.cli.console import messages, output, plain_table, print_json, progress_listener
from actprof.cli.options import html_option, json_option, parse_overrides
from actprof.cli.progress_bar import counting_columns
from actprof.errors import UsageError
from actprof.files import write_whole
from actprof.loading.feed import workers_needed
from actprof.loading.ratios import Ratio, find_ratios
from actprof.loading.rows import STAGES, LoaderResult, LoaderRow
from actprof.loading.sentences import (
    MEMORY_HEADS,
    advise,
    dataset_text,
    memory_texts,
    milliseconds,
    say_cold,
    say_ratio,
    say_result,
    step_of,
    times,
    workers_text,
)

NOTHING = "\u2013"
_SYNTHETIC = re.compile(r"0*([1-9]\d*)x0*([1-9]\d*)x0*([1-9]\d*)")


def _numbers(_context: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(map(int, _names(_context, option, text))))
    except ValueError as error:
        raise UsageError(f"{option.opts[0]} {text!r} is not a list of whole numbers, like 0,2,4") from error


def _names(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _synthetic(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    match = _SYNTHETIC.fullmatch(text or "")
    if text is not None and match is None:
        raise UsageError(f"--synthetic {text!r} is not CAMERASxWIDTHxHEIGHT, like 2x640x480")
    return tuple(map(int, match.groups())) if match else None


def _overrides(_context: click.Context, _option: click.Parameter, items: tuple[str, ...]) -> dict[str, Any]:
    return parse_overrides(items)


@click.command(name="loader")
@click.option(
    "--synthetic", callback=_synthetic, metavar="CAMERASxWIDTHxHEIGHT",
    help="Write a small real dataset, like 2x640x480, as video and as images.",
)  # fmt: skip
@click.option("--repo-id", "--dataset.repo_id", default="", help="A LeRobotDataset instead.")
@click.option("--root", "--dataset.root", default="", help="Its folder.  [default: where lerobot looks]")
@click.option(
    "--batch-size", "batch_sizes", default="8", show_default=True, callback=_numbers, metavar="N,…",
    help="Samples in a batch.",
)  # fmt: skip
@click.option(
    "--workers", default="", callback=_numbers, metavar="N,…",
    help="DataLoader workers.  [default: 0, 1, 2, 4 … to the cores]",
)  # fmt: skip
@click.option(
    "--backend", "backends", default="pyav,torchcodec", show_default=True, callback=_names,
    help="Decoders of video.",
)  # fmt: skip
@click.option(
    "--storage", "storages", default="video,images", show_default=True, callback=_names,
    help="Of a synthetic dataset.",
)  # fmt: skip
@click.option(
    "--resize", metavar="WIDTHxHEIGHT",
    help="Also resize in the loader, and a synthetic dataset when it is recorded; none leaves it out."
    "  [default: 224x224 with --synthetic]",
)  # fmt: skip
@click.option("--policy", default="act", show_default=True, help="Whose samples, by lerobot's name.")
@click.option(
    "--set", "overrides", multiple=True, metavar="FIELD=VALUE", callback=_overrides,
    help="A field of the policy's lerobot config, like chunk_size=50. Repeatable.",
)  # fmt: skip
@click.option(
    "--prefetch-factor", "--prefetch_factor", type=click.IntRange(min=1), default=None,
    help="Batches that a worker works ahead.  [default: lerobot's]",
)  # fmt: skip
@click.option(
    "--start-method", "--dataloader_multiprocessing_context", default="", metavar="spawn|fork|forkserver",
    help="Of the workers.  [default: lerobot's]",
)  # fmt: skip
@click.option("--seconds", default=3.0, show_default=True, help="To time each loader for.")
@click.option("--timeout", type=float, default=None, help="Seconds for one way to load.  [default: enough]")
@click.option(
    "--step-seconds", type=click.FloatRange(min=0, min_open=True), default=None,
    help="Of an update (updt_s): what keeps it fed?",
)  # fmt: skip
@click.option(
    "--step-batch-size", type=click.IntRange(min=1), default=None,
    help="Of that update.  [default: the largest measured]",
)  # fmt: skip
@click.option(
    "--read", type=click.Path(path_type=Path), default=None, metavar="FILE",
    help="Show results that were saved; nothing is measured.",
)  # fmt: skip
@json_option
@html_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
    help="Write loader.json and loader.html there; of a sweep, also into its store and report.",
)  # fmt: skip
def command(*, read: Path | None, as_json: bool, html: Path | None, out: Path | None, **options: Any) -> None:
    """Measure data loading of a LeRobotDataset on this machine, as lerobot trains a policy on it.

    Each decoder of video, storage and size is loaded by lerobot's own dataset and DataLoader, in a process of
    its own. It takes two to four minutes, and longer the first time, when a synthetic dataset is written.

    \b
    Examples:
      actprof loader --synthetic 2x640x480 --out reports/loader
      actprof loader --synthetic 1x96x96 --policy diffusion
      actprof loader --repo-id me/pick --root data/pick --workers 0,2,4
      actprof loader --read reports/loader/loader.json --step-seconds 0.47
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    step = {name: options.pop(name) for name in ("step_seconds", "step_batch_size")}
    if options["resize"] is None:
        options["resize"] = "224x224" if options["synthetic"] else "none"
    options["resize"] = options["resize"].replace("none", "")
    if read is not None:
        result = _read_result(read)
    else:
        with progress_listener(*counting_columns(), start="importing lerobot, to plan") as listener:
            result = api.measure_loader(**options, listener=listener)
    written = _write(result, html, out, step)
    if as_json:
        print_json(result.to_json())
        return
    _print_loading(result, step, output())
    for path in written:
        messages().print(f"wrote {escape(str(path))}")


def _read_result(path: Path) -> LoaderResult:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read as JSON ({error}); give a file of --out or --json"
        ) from error
    return LoaderResult.from_json(data if isinstance(data, dict) else {})


def _write(result: LoaderResult, html: Path | None, out: Path | None, step: dict[str, Any]) -> list[Path]:
    pages = ([html] if html else []) + ([out / "loader.html"] if out else [])
    written = [api.write_loader_page(result, page, **step) for page in pages]
    if out is not None:
        place = out / LOADING_NAME
        write_whole(place, (json.dumps(result.to_json(), indent=1) + "\n").encode())
        written.append(place)
        report = keep_loading(result, out)
        written += [report] if report else []
    return written


def _print_loading(result: LoaderResult, step: dict[str, Any], console: Console) -> None:
    """Print rates, the parts of a sample, the ratios, and what keeps a step fed."""
    console.print(f"[bold]{escape(say_result(result))}[/]")
    if result.chunk_size:
        console.print(f"[dim]{escape(result.policy)}: {result.sample_text}[/]")
    for facts in result.datasets:
        console.print(f"[dim]{escape(dataset_text(facts))}[/]")
    for batch_size in result.batch_sizes:
        console.print(f"\n[bold]Samples per second[/], batch size {batch_size}")
        console.print(_rates(result, batch_size))
    for said in say_cold(result):
        console.print(f"\nFiles not in the page cache: {escape(said)}")
    if any(row.stages for row in result.rows):
        console.print("\n[bold]Where the time of one sample goes[/], ms, cameras one after another")
        console.print(_stages(result))
    _print_memory(result, console)
    ratios = find_ratios(result)
    if ratios:
        console.print("\n[bold]What each change brings[/], without workers")
        console.print(_ratios(ratios))
    if step["step_seconds"] is not None:
        _print_advice(result, console, step["step_seconds"], step_of(result, step["step_batch_size"]))
    for reason in dict.fromkeys(f"{row.source}: {row.reason}" for row in result.rows if row.reason):
        console.print(f"\n[yellow]not measured:[/] {escape(reason)}")
    for note in result.notes:
        console.print(f"\n[dim]note:[/] {escape(note)}")


def _rates(result: LoaderResult, batch_size: int) -> Table:
    counts = sorted({row.workers for row in result.rows})
    table = _table("loading", "ms/batch", *map(workers_text, counts))
    for source in result.sources:
        rows = [result.row(source, workers=count, batch_size=batch_size) for count in counts]
        alone = result.row(source, batch_size=batch_size)
        table.add_row(escape(str(source)), _batch(alone), *map(_rate, rows))
    return table


def _stages(result: LoaderResult) -> Table:
    rows = [row for row in result.rows if row.stages and row.batch_size == result.batch_sizes[0]]
    shown = [name for name in STAGES if any(name in row.stages for row in rows)]
    table = _table("loading", *shown)
    for row in rows:
        parts = (milliseconds(row.stages[name]) if name in row.stages else NOTHING for name in shown)
        table.add_row(escape(str(row.source)), *parts)
    return table


def _print_memory(result: LoaderResult, console: Console) -> None:
    rows = [row for row in result.rows if row.memory is not None]
    if not rows:
        return
    table = _table("loading", "batch", "workers", *MEMORY_HEADS)
    for row in rows:
        counts = (str(row.batch_size), str(row.workers))
        table.add_row(escape(str(row.source)), *counts, *memory_texts(row))
    console.print("\n[bold]Host memory at rest[/], MiB, measured / predicted")
    console.print(table)


def _ratios(ratios: tuple[Ratio, ...]) -> Table:
    table = plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for ratio in ratios:
        table.add_row(ratio.change, times(ratio.times), escape(say_ratio(ratio)))
    return table


def _table(first: str, *others: str) -> Table:
    table = plain_table(padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold", min_width=18)
    for name in others:
        table.add_column(name, justify="right", no_wrap=" " not in name)
    return table


def _batch(row: LoaderRow | None) -> str:
    return NOTHING if row is None or row.batch_seconds is None else milliseconds(row.batch_seconds.median)


def _rate(row: LoaderRow | None) -> str:
    rate = None if row is None else row.samples_per_second
    return NOTHING if rate is None else f"{rate:.3g}"


def _print_advice(result: LoaderResult, console: Console, step_seconds: float, batch_size: int) -> None:
    console.print(f"\n[bold]What keeps a step of {step_seconds:g} s with batch size {batch_size} fed[/]")
    feeds = workers_needed(result.rows, step_seconds, result.cores, batch_size=batch_size)
    if not feeds:
        console.print("  cannot be told of rows with workers alone; measure without as well (--workers 0,…)")
    for feed in feeds:
        mark = "[green]yes[/]" if feed.fits else "[red]no [/]"
        console.print(f"  {mark}  {escape(advise(feed, result.cores))}")
