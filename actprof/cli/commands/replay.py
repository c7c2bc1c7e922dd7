"""Replay a memory snapshot of PyTorch under other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from actprof import api
from actprof.cli.console import messages, output, print_json, progress_listener
from actprof.cli.options import html_option, json_option
from actprof.cli.show_replay import print_replay, print_verification
from actprof.errors import UsageError


@click.command(name="replay")
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option(
    "--device", type=int, default=None, metavar="N", help="GPU in the snapshot.  [default: first with events]"
)
@click.option("--gpu", default=None, help="A GPU of `actprof gpus` to replay on.")
@click.option(
    "--capacity", default=None, metavar="SIZE", help="Memory of the device to replay on, like 24GiB."
)
@click.option("--alloc-conf", default=None, metavar="CONF", help="A PYTORCH_CUDA_ALLOC_CONF to replay under.")
@click.option("--compare", multiple=True, metavar="CONF", help="One more of them, a column each. Repeatable.")
@click.option(
    "--torch-version", default=None, metavar="X.Y", help="Release whose rules are meant.  [default: 2.11]"
)
@click.option("--verify", is_flag=True, help="Check the simulation itself against the record.")
@json_option
@html_option
def command(*, snapshot: Path, verify: bool, as_json: bool, html: Path | None, **options: Any) -> None:
    """Replay SNAPSHOT, a file of torch.cuda.memory._dump_snapshot, under other settings or on another GPU.

    The first column is the run as it was recorded. Without --gpu or --capacity the limit is the recorded
    device's, as far as the recording shows it. A run that runs out of memory ends there.

    \b
    Examples:
      actprof replay snapshot.pickle --capacity 24GiB
      actprof replay snapshot.pickle --compare expandable_segments:True --compare max_split_size_mb:128
      actprof replay snapshot.pickle --verify --json
    """  # noqa: D301 - click's mark for lines that stay as they are is the character itself
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with progress_listener(*columns, start=f"reading {snapshot.name}") as listener:
        if verify:
            _refuse_with_verify(html=html, **options)
            kept = {name: options[name] for name in ("device", "torch_version")}
            found = api.verify_snapshot(snapshot, listener=listener, **kept)
        else:
            replay = api.replay_snapshot(snapshot, listener=listener, **options)
    if verify:
        print_json(found.to_json()) if as_json else print_verification(found, output())
        return
    if html is not None:
        api.write_replay_page(replay, html)
    if as_json:
        print_json(replay.to_json())
    else:
        print_replay(replay, output())
        if html is not None:
            messages().print(f"wrote {escape(str(html))}")


def _refuse_with_verify(**options: Any) -> None:
    for name in ("gpu", "capacity", "alloc_conf", "compare", "html"):
        if options[name]:
            raise UsageError(
                f"--verify replays what was recorded; leave out --{name.replace('_', '-')}, or --verify"
            )
