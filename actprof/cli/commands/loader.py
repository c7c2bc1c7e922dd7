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
from actprof.cli.console import json_option, messages, output, print_json, progress_listener
from actprof.cli.show_loading import print_loading
from actprof.errors import UsageError
from actprof.files import write_whole
from actprof.loading.rows import LoaderResult

_SYNTHETIC = re.compile(r"(\d+)x(\d+)x(\d+)")


@click.command(name="loader")
@click.option(
    "--synthetic",
    default=None,
    metavar="CAMERASxWIDTHxHEIGHT",
    help="Write a small real dataset, like 2x640x480, as video and as images.",
)
@click.option("--repo-id", "--dataset.repo_id", default="", help="A LeRobotDataset instead.")
@click.option("--root", "--dataset.root", default="", help="Its folder.  [default: where lerobot looks]")
@click.option("--batch-size", default="8", show_default=True, metavar="N,…", help="Samples in a batch.")
@click.option(
    "--workers", default="", metavar="N,…", help="DataLoader workers.  [default: 0, 1, 2, 4 … to the cores]"
)
@click.option("--backend", default="pyav,torchcodec", show_default=True, help="Decoders of video.")
@click.option("--storage", default="video,images", show_default=True, help="Of a synthetic dataset.")
@click.option(
    "--resize",
    default=None,
    metavar="WIDTHxHEIGHT",
    help="Also resize in the loader, and a synthetic dataset when it is recorded; none leaves it out."
    "  [default: 224x224 with --synthetic]",
)
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
@click.option(
    "--html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write a page as well."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
    help="Write loader.json and loader.html there; of a sweep, also into its store and report.",
)  # fmt: skip
def command(
    *,
    read: Path | None,
    as_json: bool,
    html: Path | None,
    out: Path | None,
    step_seconds: float | None,
    step_batch_size: int | None,
    **options: Any,
) -> None:
    """Measure data loading of a LeRobotDataset on this machine, as lerobot trains on it.

    Each decoder of video, storage and size is loaded by lerobot's own dataset and DataLoader, in a process of
    its own. It takes two to four minutes, and longer the first time, when a synthetic dataset is written.

    \b
    Examples:
      actprof loader --synthetic 2x640x480 --out reports/loader
      actprof loader --repo-id me/pick --root data/pick --workers 0,2,4
      actprof loader --read reports/loader/loader.json --step-seconds 0.47
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    if read is not None:
        result = read_result(read)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(separator="/"))
        with progress_listener(*columns, start="planning") as listener:
            result = api.measure_loader(**parse_options(**options), listener=listener)
    step: dict[str, Any] = {"step_seconds": step_seconds, "step_batch_size": step_batch_size}
    written = _write(result, html, out, step)
    if as_json:
        print_json(result.to_json())
        return
    print_loading(result, output(), **step)
    for path in written:
        messages().print(f"wrote {escape(str(path))}")


def parse_options(
    *,
    synthetic: str | None,
    batch_size: str,
    workers: str,
    backend: str,
    storage: str,
    resize: str | None,
    **others: Any,
) -> dict[str, Any]:
    """Return the arguments of `actprof.measure_loader` that the options mean.

    Raises:
        UsageError: a list or a size that cannot be read.
    """
    if resize is None:
        resize = "224x224" if synthetic else ""
    return {
        "synthetic": _synthetic(synthetic),
        "batch_sizes": _numbers(batch_size, "--batch-size"),
        "workers": _numbers(workers, "--workers"),
        "backends": _names(backend),
        "storages": _names(storage),
        "resize": "" if resize == "none" else resize,
        **others,
    }


def _synthetic(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    match = _SYNTHETIC.fullmatch(text)
    if match is None or not all(map(int, match.groups())):
        raise UsageError(f"--synthetic {text!r} is not CAMERASxWIDTHxHEIGHT, like 2x640x480")
    cameras, width, height = map(int, match.groups())
    return cameras, width, height


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a list of whole numbers, like 0,2,4") from error


def read_result(path: Path) -> LoaderResult:
    """Return results that `--out` or `--json` saved.

    Raises:
        UsageError: the file cannot be read.
        StoreError: it holds something else.
    """
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
