"""The section of what helps: for what runs out, what of the grid runs in its place; and commands to copy.

Everything is read off the results; nothing is predicted for it. Plain text, not escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from actprof.report.arrange import BatchSeries, Setup
from actprof.report.parts import NOTHING, Row, Table, columns
from actprof.results import Result, Verdict
from actprof.words import cell_command, cell_text, gib, images_text, plural

_MOST_ROWS = 12
_MOST_COMMANDS = 3


def present_helps(setups: Sequence[Setup]) -> dict[str, Any] | None:
    """Return what the template shows, or None where nothing is known of any run.

    `table` has a row for the first run that runs out of each line under the first allocator setting, `lead`
    the sentences before it, and `commands` ask for the remedies of some of these runs, or of the largest.
    """
    every = [(setup, line) for setup in setups for line in setup.lines]
    lines = [(setup, line) for setup, line in every if line.alloc_conf == setup.alloc_confs[0]]
    failing = [(setup, line, run) for setup, line in lines if (run := line.first_failing)]
    largest = [run for _, line in lines if (run := line.last_running)]
    if not failing and not largest:
        return None
    asked = [run for *_, run in failing] or largest
    shown = failing[:_MOST_ROWS]
    return {
        "lead": _lead(len(failing), len(shown)),
        "table": _table(shown, named=len(setups) > 1) if shown else None,
        "commands": [cell_command(run.cell, "suggest") for run in asked[:_MOST_COMMANDS]],
    }


def _lead(count: int, shown: int) -> list[str]:
    if not count:
        return ["No run of the grid runs out of memory: what is left to ask is what would be faster."]
    said = "Each row is the smallest batch that runs out, and what of this grid runs in its place."
    left = count - shown
    return [f"{said} {left} more {plural(left, 'row')} of the kind are left out." if left else said]


def _table(failing: Sequence[tuple[Setup, BatchSeries, Result]], *, named: bool) -> Table:
    heads = columns(*(["Setup"] if named else []), "Runs out")
    heads += columns("Largest batch that runs", "This batch, another setting", "This batch, smaller images")
    lines = [
        Row((*([setup.name] if named else []), cell_text(run.cell), *_instead(setup, line, run)))
        for setup, line, run in failing
    ]
    return Table("What helps", heads, tuple(lines), css="helps", named=not named)


def _instead(setup: Setup, line: BatchSeries, run: Result) -> tuple[str, str, str]:
    """Return as flags and variables to copy what runs in place of `run`: batch, allocator, images."""
    size = run.cell.batch_size
    alike = [
        other
        for other in setup.lines
        if other.cameras == line.cameras and any(r.cell.batch_size == size and r.runs for r in other.results)
    ]
    settings = (other for other in alike if other.resolution == line.resolution)
    smaller = (other for other in alike if other.alloc_conf == line.alloc_conf)
    return (
        f"--batch_size={line.limit}" if line.limit else NOTHING,
        next((_setting(other, size) for other in settings), NOTHING),
        next((_images(other, size) for other in smaller), NOTHING),
    )


def _setting(line: BatchSeries, size: int) -> str:
    variable = f"PYTORCH_CUDA_ALLOC_CONF={shlex.quote(line.alloc_conf)}"
    return f"{variable}{_to_spare(line, size)}"


def _images(line: BatchSeries, size: int) -> str:
    return f"{images_text(line.cameras, line.resolution)}{_to_spare(line, size)}"


def _to_spare(line: BatchSeries, size: int) -> str:
    run = next(r for r in line.results if r.cell.batch_size == size)
    return " (tight)" if run.verdict == Verdict.TIGHT else f" ({gib(run.headroom_bytes)} GiB to spare)"
