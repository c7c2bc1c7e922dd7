"""What `actprof replay` prints: a recorded run under other settings, or how far the simulation agrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actprof.cli.console import plain_table
from actprof.snapshots.replay_recording import Outcome, SnapshotReplay, say_ambiguous
from actprof.units import format_bytes

if TYPE_CHECKING:
    from actprof.snapshots.verify import Verification

_HOLDERS = 5


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
    ("  tried to allocate", lambda o: format_bytes(o.oom.segment_bytes) if o.oom else ""),
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
