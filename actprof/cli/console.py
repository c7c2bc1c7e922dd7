"""What the commands print with: rich consoles that are plain where nobody looks, and shared phrases."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from actprof.results import MOST_BATCH_SIZE, Result, Verdict

_PIPE_COLUMNS = 200
VERDICT_STYLES = {
    Verdict.FITS: "bold green",
    Verdict.TIGHT: "bold yellow",
    Verdict.OOM: "bold red",
    Verdict.UNKNOWN: "bold magenta",
    Verdict.FAILED: "bold white on red",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`, for which `actprof gpus | head` is no error."""
        raise BrokenPipeError


def output() -> Console:
    """Return a console on stdout; rich leaves colours out for pipes and with `NO_COLOR`.

    In a pipe lines are as long as they are: nobody wants figures cut at column 80 there.
    """
    piped = not sys.stdout.isatty()
    width = _PIPE_COLUMNS if piped and "COLUMNS" not in os.environ else None
    return _Console(highlight=False, soft_wrap=piped, width=width)


def messages() -> Console:
    """Return a console on stderr, for progress."""
    return Console(stderr=True, highlight=False)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a progress bar on stderr that leaves nothing behind, and is not drawn where nobody looks."""
    console = messages()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


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
    return f"{likely} likely, {surely} whichever plans cuDNN takes"


def batch_size_text(boundary: int) -> str:
    """Return a boundary; the search ends somewhere."""
    return f"{boundary} or more" if boundary >= MOST_BATCH_SIZE else str(boundary)
