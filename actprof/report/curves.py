"""The memory timelines of all cells as compact JSON for the page, which draws the one that a reader chooses.

Sizes are whole MiB. Cells of the same trace on several GPUs have the same timeline, so each is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actprof.report.arrange import Setup, arrange, largest_image_first
from actprof.report.palette import GREY, MEMORY, PHASES, ROOM
from actprof.report.sentences import summary
from actprof.results import MemoryCurve, Result
from actprof.units import MIB
from actprof.words import allocator_text, cameras_text

# The order of the selects; each cell holds one index per axis.
AXES = ("setup", "resolution", "cameras", "batch", "allocator")


def pack_curves(results: Sequence[Result]) -> dict[str, Any]:
    """Return `axes` (names of the choices), `cells`, `curves`, `start` (cell shown first) and `colours`.

    A cell is `at` (an index per axis), `curve` (index, or None), `room` and `capacity` in MiB, `verdict` and
    `note` (a sentence). A curve is `allocated`, `reserved` (MiB), `phases` ((point, name), …) and `steps`.
    """
    setups = arrange(results)
    choices = _choices(setups)
    curves: dict[str, int] = {}
    packed: list[dict[str, Any]] = []
    cells = []
    for setup in setups:
        for result in setup.results:
            cells.append(_pack_cell(result, _position(setup, result, choices)))
            if result.curve is not None:
                curve = _pack_curve(result.curve)
                index = curves.setdefault(repr(curve), len(packed))
                packed += [curve] if index == len(packed) else []
                cells[-1]["curve"] = index
    axes = {axis: [name for _, name in choices[axis]] for axis in AXES}
    colours = {**MEMORY, "room": ROOM, "mark": GREY, "phases": PHASES}
    start = _start(setups, cells)
    return {"axes": axes, "cells": cells, "curves": packed, "start": start, "colours": colours}


def _choices(setups: Sequence[Setup]) -> dict[str, list[tuple[Any, str]]]:
    cells = [result.cell for setup in setups for result in setup.results]
    return {
        "setup": [(setup.name, setup.name) for setup in setups],
        "resolution": [(name, name) for name in largest_image_first(cells)],
        "cameras": [(n, cameras_text(n)) for n in sorted({c.cameras for c in cells})],
        "batch": [(n, str(n)) for n in sorted({c.batch_size for c in cells})],
        "allocator": [(conf, allocator_text(conf)) for conf in sorted({c.alloc_conf for c in cells})],
    }


def _position(setup: Setup, result: Result, choices: dict[str, list[tuple[Any, str]]]) -> list[int]:
    cell = result.cell
    values = (setup.name, cell.resolution, cell.cameras, cell.batch_size, cell.alloc_conf)
    return [
        next(i for i, (value, _) in enumerate(choices[axis]) if value == wanted)
        for axis, wanted in zip(AXES, values, strict=True)
    ]


def _pack_cell(result: Result, position: list[int]) -> dict[str, Any]:
    return {
        "at": position,
        "curve": None,
        "room": round(result.available_bytes / MIB),
        "verdict": result.verdict,
        "note": summary(result),
    }


def _pack_curve(curve: MemoryCurve) -> dict[str, Any]:
    return {
        "allocated": [round(size / MIB) for size in curve.allocated_bytes],
        "reserved": [round(size / MIB) for size in curve.reserved_bytes],
        "phases": [list(phase) for phase in curve.phases],
        "steps": list(curve.steps),
    }


def _start(setups: Sequence[Setup], cells: Sequence[dict[str, Any]]) -> int:
    """Return the first cell beyond the limit of the first setup's focus, or else one that has a timeline."""
    focus = setups[0].focus if setups else None
    wanted = [r for r in reversed(focus.around_limit) if r.curve is not None] if focus else []
    order = [result for setup in setups for result in setup.results]
    found = (i for i, result in enumerate(order) if any(result is some for some in wanted[:1]))
    drawn = (i for i, cell in enumerate(cells) if cell["curve"] is not None)
    return next(found, next(drawn, 0))
