"""The columns of bars that count: how many of how many, how fast, how long it has taken and still takes.

What is not known is left out, so that no bar reads `0/?`.
"""

from __future__ import annotations

from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from actprof.units import format_seconds
from actprof.words import rate_text

_BAR_COLUMNS = 20


class _Counted(ProgressColumn):
    """`12 of 210`, once it is known of how many."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f} of {task.total:.0f}" if task.total else "")


class _Rate(ProgressColumn):
    """`3.25/s`, once some are done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        return Text(f"{rate_text(task.speed)}/s" if task.speed and task.total else "")


class _TimeLeft(ProgressColumn):
    """`about 40 s left`, once some are done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = task.time_remaining if task.total else None
        return Text(f"about {format_seconds(round(left))} left" if left else "")


def counting_columns() -> tuple[ProgressColumn, ...]:
    """Return fresh columns for `progress_listener`; what is running stands last, as it may be long."""
    text = TextColumn("{task.description}")
    return BarColumn(bar_width=_BAR_COLUMNS), _Counted(), _Rate(), TimeElapsedColumn(), _TimeLeft(), text
