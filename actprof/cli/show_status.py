"""How far a sweep is, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from actprof.cli.console import VERDICT_STYLES
from actprof.cli.show_sweep import COUNTED
from actprof.results import Verdict
from actprof.units import format_seconds
from actprof.words import percent, plural, rate_text

if TYPE_CHECKING:
    from actprof.sweeps.status import Status


_ENDED = {
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted; the same command goes on from there",
}


def print_status(status: Status, console: Console) -> None:
    """Print how many runs are answered, how fast it goes, what is running, and who works on it."""
    console.print(
        f"[bold]{escape(status.name)}[/]: {status.planned:,} {plural(status.planned, 'run')} planned"
    )
    for line in counted(status):
        console.print(line)
    for label, text in _working(status):
        console.print(f"{label:9}{escape(text)}", soft_wrap=True)


def counted(status: Status) -> Iterator[str]:
    """Yield a line for each source, with how many runs it has of each verdict; with rich's marks."""
    for source, counts in status.counts.items():
        said = [
            f"[{VERDICT_STYLES[Verdict(name)]}]{counts[name]:,} {words}[/]"
            for name, words in COUNTED.items()
            if name in counts
        ]
        yield f"{source:10} {sum(counts.values()):,} {plural(sum(counts.values()), 'run')}: {', '.join(said)}"


def _working(status: Status) -> Iterator[tuple[str, str]]:
    working = status.working
    if working is None:
        return
    left = working.total - working.done
    share = f"{working.done:,} of {working.total:,} tasks done, {percent(working.done, working.total)}"
    if not working.is_alive:
        yield "tasks", share
        how = _ENDED.get(working.ended, "was killed; the same command goes on from there")
        yield "process", f"{working.pid} on {working.host}, after {_duration(status.seconds)}: {how}"
        return
    speed = f"{rate_text(status.per_second)} a second in the last minute"
    if status.per_second and working.total:
        speed += f", about {_duration(left / status.per_second)} left"
    yield "tasks", share
    yield "rate", speed
    for text in working.running:
        yield "running", text
    yield "process", f"{working.pid} on {working.host} has been at work for {_duration(status.seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else format_seconds(seconds)
