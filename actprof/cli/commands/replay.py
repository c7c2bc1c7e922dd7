"""Replay a memory snapshot of PyTorch under other settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from actprof import api
from actprof.cli.console import messages, output, plain_table, print_json, progress_listener
from actprof.cli.options import gpu_option, html_option, json_option
from actprof.errors import UsageError
from actprof.snapshots.memory_over_time import RefusedRequest
from actprof.snapshots.replay_recording import Outcome, SnapshotReplay, say_ambiguous
from actprof.snapshots.verify import Verification
from actprof.units import format_bytes

_HOLDERS = 5


@click.command(name="replay")
@click.argument("snapshot", type=click.Path(path_type=Path))
@click.option(
    "--device", type=int, default=None, metavar="N", help="GPU in the snapshot.  [default: first with events]"
)
@gpu_option("A GPU of `actprof gpus` to replay on.")
@click.option(
    "--capacity", default=None, metavar="SIZE", help="Memory of the device to replay on, like 23.69GiB."
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
      actprof replay snapshot.pickle --capacity 23.69GiB
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


def print_replay(replay: SnapshotReplay, console: Console) -> None:
    """Print one column per setting, then who holds the memory, then what to know."""
    began = "from an empty allocator" if replay.from_empty else "from mid-run"
    version = ".".join(map(str, replay.torch_version))
    console.print(
        f"[bold]{escape(replay.name)}[/], device {replay.device}: {replay.events:,} events {began}, rules of "
        f"torch {version}; replayed as recorded, the simulation "
        + ("[green]agrees with every event[/]" if replay.agrees else "[yellow]leaves the record[/]")
    )
    console.print()
    console.print(_table(replay))
    for index, outcome in enumerate(replay.outcomes):
        if index == 0 or outcome.oom:
            _print_holders(outcome, console)
    if replay.notes:
        console.print()
    for note in replay.notes:
        console.print(f"[dim]note:[/] {escape(note)}")


def _table(replay: SnapshotReplay) -> Table:
    table = plain_table(padding=(0, 3, 0, 0))
    table.add_column("", style="dim", no_wrap=True)
    for outcome in replay.outcomes:
        table.add_column(escape(outcome.label), justify="right", overflow="fold")
    for name, value in _ROWS:
        table.add_row(name, *(value(outcome) for outcome in replay.outcomes))
    return table


def _limit(outcome: Outcome) -> str:
    if outcome.label == "as recorded":
        return outcome.label
    return "none" if outcome.available_bytes is None else format_bytes(outcome.available_bytes)


def _oom_text(outcome: Outcome) -> str:
    oom = outcome.oom
    if oom is None:
        return "[green]no[/]"
    if oom.event < 0:
        return "[red]at the start[/]"
    return f"[red]at event {oom.event:,}[/]" + ("" if oom.ended else " (went on)")


def _request_text(oom: RefusedRequest) -> str:
    return format_bytes(oom.segment_bytes) if oom.segment_bytes else "what it held already"


_ROWS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("settings", lambda o: escape(o.alloc_conf) or "default"),
    ("could reserve", _limit),
    ("peak allocated", lambda o: format_bytes(o.peak_allocated_bytes)),
    ("peak reserved", lambda o: f"[bold]{format_bytes(o.peak_reserved_bytes)}[/]"),
    ("unused at that peak", lambda o: format_bytes(o.unused_bytes)),
    ("inactive splits", lambda o: format_bytes(o.inactive_split_bytes)),
    ("segments at that peak", lambda o: f"{o.segments:,}"),
    ("segments obtained", lambda o: f"{o.segments_obtained:,}"),
    ("segments returned", lambda o: f"{o.segments_returned:,}"),
    ("cache releases", lambda o: f"{o.cache_releases:,}"),
    ("retries", lambda o: f"{o.retries:,}"),
    ("out of memory", _oom_text),
    ("  tried to allocate", lambda o: _request_text(o.oom) if o.oom else ""),
    ("  asked by", lambda o: escape(o.oom.frame) if o.oom else ""),
    ("events replayed", lambda o: f"{o.events:,}"),
)


def _print_holders(outcome: Outcome, console: Console) -> None:
    ended = outcome.oom is not None and outcome.oom.ended
    when = "where it runs out" if ended else "at the peak of reserved memory"
    console.print(f"\n[bold]Who holds the memory {when}[/] ({escape(outcome.label)})")
    for holder in outcome.top_holders[:_HOLDERS]:
        blocks = "1 block" if holder.blocks == 1 else f"{holder.blocks:,} blocks"
        console.print(f"  {format_bytes(holder.size_bytes):>11}  {escape(holder.frame)} [dim]({blocks})[/]")


def print_verification(found: Verification, console: Console) -> None:
    """Print how far the simulation agrees with the record."""
    exact, differs = "[bold green]The simulation equals the record.[/]", "[bold yellow]It differs.[/]"
    began = "from an empty allocator" if found.from_empty else "from mid-run, rewound"
    console.print(f"{exact if found.is_exact else differs} The recording starts {began}.\n")
    table = plain_table("", ">recorded", ">simulated alike", padding=(0, 3, 0, 0))
    for name in ("allocations", "segment_allocs", "segment_frees"):
        total, same = getattr(found, name), getattr(found, f"{name}_matching")
        table.add_row(name.replace("_", " "), f"{total:,}", f"{same:,}")
    for name in ("allocated_bytes", "reserved_bytes"):
        recorded, simulated = getattr(found.peaks_recorded, name), getattr(found.peaks_simulated, name)
        table.add_row(f"peak {name.replace('_', ' ')}", f"{recorded:,}", f"{simulated:,}")
    table.add_row("final state", "", "equal" if found.final_state_equal else "different")
    console.print(table)
    if found.guessed_blocks:
        said = say_ambiguous(found.guessed_blocks)
        console.print(f"\n{said[0].upper()}{said[1:]}.")
    if found.first_mismatch is not None:
        console.print(f"\nfirst difference: {escape(str(found.first_mismatch))}")
