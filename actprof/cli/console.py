"""What the commands print with: rich consoles that are plain where nobody looks, and shared phrases."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress as RichProgress
from rich.progress import ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table

from actprof.printable import printable
from actprof.progress import Listener, Progress, listening
from actprof.results import MOST_BATCH_SIZE, Result, Verdict

_PIPE_COLUMNS = 120
_PATIENCE_SECONDS = 1.5
# Where a terminal can show nothing but ASCII; the widths stay as they are.
_IN_ASCII = str.maketrans("█░✓✗–−×·“”‘’…\u202f\u00a0", "#.+x--x*\"\"''.  ")  # noqa: RUF001 - what it is about
_ENDS_IN_BLANKS = re.compile(r" +$", re.MULTILINE)
VERDICT_STYLES = {
    Verdict.FITS: "bold green",
    Verdict.TIGHT: "bold yellow",
    Verdict.OOM: "bold red",
    Verdict.UNKNOWN: "bold magenta",
    Verdict.FAILED: "bold white on red",
}


class PrintableConsole(Console):
    """The gate of all that has styles: nothing printed here commands the terminal but rich itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does; after its marks are read, so that none comes of what is left out."""
        is_ascii = not self.encoding.startswith("utf")
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            text = text.translate(_IN_ASCII) if is_ascii else text
            yield segment if text is segment.text else segment._replace(text=text)

    def on_broken_pipe(self) -> None:
        """Leave it to `main`, for which `actprof gpus | head` is no error."""
        raise BrokenPipeError


class _Trimmed:
    """What a stream of `sys` is, but for the blanks with which tables fill their lines."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        """Write a text that ends with its line, as a console does."""
        written: int = getattr(sys, self._name).write(_ENDS_IN_BLANKS.sub("", text))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(sys, self._name), name)


def output() -> Console:
    """Return a console on stdout; rich leaves colours out for pipes and with `NO_COLOR`.

    In a pipe lines end at column 120, or `COLUMNS`, and have no blanks at their ends; what is to be copied is
    printed with `soft_wrap` and keeps its line.
    """
    if sys.stdout.isatty():
        return PrintableConsole()
    width = None if "COLUMNS" in os.environ else _PIPE_COLUMNS
    return PrintableConsole(file=_Trimmed("stdout"), width=width)


def messages(*, tables: bool = False) -> Console:
    """Return a console on stderr, for progress and notes; but for `tables`, lines stay whole in a pipe."""
    piped = not sys.stderr.isatty()
    if not (piped and tables):
        return PrintableConsole(stderr=True, soft_wrap=piped)
    width = None if "COLUMNS" in os.environ else _PIPE_COLUMNS
    return PrintableConsole(file=_Trimmed("stderr"), width=width)


@contextmanager
def progress_listener(*columns: ProgressColumn, start: str) -> Iterator[Listener]:
    """Show a progress bar on stderr that begins with the text `start`; give the listener that moves it.

    It leaves nothing behind. Where nobody looks no bar is drawn, and `start` is told if it takes its time.
    """
    waiting = Waiting()
    with _progress_bar(*columns) as bar:
        task = bar.add_task(escape(start), total=None)

        def listener(progress: Progress) -> None:
            first, *others = progress.running or ("",)
            text = f"{first} and {len(others)} more" if others else first
            bar.update(task, total=progress.total or None, completed=progress.done, description=escape(text))

        def said(progress: Progress) -> None:
            if progress.running:  # what a task of this process is doing; how many there are it does not know
                bar.update(task, description=escape(progress.text))

        if bar.disable:
            waiting(Progress(running=(start,)))
        try:
            with listening(said):
                yield listener
        finally:
            if bar.disable:
                waiting(Progress())


def _progress_bar(*columns: ProgressColumn) -> RichProgress:
    console = messages()
    return RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)


class Waiting:
    """Listens where no other bar is drawn: a spinner from the first word on until there are no more.

    Where nobody looks, what takes longer than a second is told once, in a line.
    """

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._line: Timer | None = None
        self._told: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        """Show what is running, or nothing."""
        if not messages().is_terminal:
            self._tell_later(progress.text)
            return
        if self._bar is None and progress.running:
            self._bar = _progress_bar(SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar.add_task("", total=None)
            self._bar.start()
        if self._bar is None:
            return
        if progress.running:
            self._bar.update(self._bar.task_ids[0], description=escape(progress.text))
        else:
            self._bar.stop()
            self._bar = None

    def _tell_later(self, text: str) -> None:
        if self._line is not None:
            self._line.cancel()
            self._line = None
        if text and text not in self._told:
            self._line = Timer(_PATIENCE_SECONDS, self._tell, (text,))
            self._line.daemon = True
            self._line.start()

    def _tell(self, text: str) -> None:
        self._told.add(text)
        messages().print(f"actprof: {escape(text)}")


def plain_table(*columns: str, **style: Any) -> Table:
    """Return a table without lines; a column whose name begins with `>` has its cells to the right."""
    table = Table(**{"box": None, "padding": (0, 2, 0, 0), "pad_edge": False, **style})
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return table


def number_table(first: str, *numbers: str, header_style: str | None = None, **column: Any) -> Table:
    """Return a table without lines: a `first` column, as `column` says, then numbers that keep their line."""
    table = plain_table(header_style=header_style)
    table.add_column(first, **column)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def print_indented(text: str, console: Console, by: int) -> None:
    """Print a text with rich's marks so many columns to the right, all its lines."""
    console.print(Padding(text, (0, 0, 0, by), expand=False))


def print_json(data: Any) -> None:
    """Print exactly one JSON value on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def verdict_text(result: Result) -> str:
    """Return the verdict with its style, for rich."""
    return f"[{VERDICT_STYLES[result.verdict]}]{result.verdict}[/]"


def boundary_text(result: Result) -> str:
    """Return the largest batch size that runs, in words."""
    if result.max_batch_size is None:
        return "not known"
    if result.max_batch_size == 0:
        return "none: not even batch size 1 runs"
    surely = result.surely_fits_batch_size
    likely = batch_size_text(result.max_batch_size)
    if surely is None or surely >= result.max_batch_size:
        return likely
    return f"{surely} ({likely} with likely plans of cuDNN)"


def batch_size_text(boundary: int) -> str:
    """Return a boundary; the search ends somewhere."""
    return f"{boundary} or more" if boundary >= MOST_BATCH_SIZE else str(boundary)
