"""What the commands print with: rich consoles that are plain where nobody looks, and shared phrases."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from actprof.results import Result

VERDICT_STYLES = {"fits": "bold green", "tight": "bold yellow", "oom": "bold red", "unknown": "bold magenta"}


def output() -> Console:
    """Return a console on stdout; rich leaves colours out for pipes and with `NO_COLOR`."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


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
    return str(result.max_batch_size)
