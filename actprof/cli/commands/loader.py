"""Measure how fast a dataset loads here, and what keeps a step fed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from actprof import api
from actprof.api.measurements import keep_loading
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import html_option, json_option
from actprof.cli.show_loading import print_loading
from actprof.errors import UsageError
from actprof.files import write_whole
from actprof.loading.rows import LoaderResult

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
@click.option("--chunk-size", default=100, show_default=True, help="Actions in a sample, as in ACT's config.")
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
    """Measure data loading of a LeRobotDataset on this machine, as lerobot trains on it.

    Each decoder of video, storage and size is loaded by lerobot's own dataset and DataLoader, in a process of
    its own. It takes two to four minutes, and longer the first time, when a synthetic dataset is written.

    \b
    Examples:
      actprof loader --synthetic 2x640x480 --out reports/loader
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
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(separator="/"))
        with progress_listener(*columns, start="planning") as listener:
            result = api.measure_loader(**options, listener=listener)
    written = _write(result, html, out, step)
    if as_json:
        print_json(result.to_json())
        return
    print_loading(result, output(), **step)
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
        place = out / "loader.json"
        write_whole(place, (json.dumps(result.to_json(), indent=1) + "\n").encode())
        written.append(place)
        report = keep_loading(result, out)
        written += [report] if report else []
    return written
