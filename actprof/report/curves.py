"""The memory timelines of all cells as compact JSON for the page, which draws the one that a reader chooses.

Sizes are whole MiB, each as the difference to the one before it, which packs well. Cells of the same trace on
several GPUs have the same timeline, so each is stored once; the timelines of many cells are coarser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from actprof.report.arrange import Setup, arrange, largest_image_first
from actprof.report.palette import GREY, MEMORY, PHASES, ROOM
from actprof.report.sentences import summary
from actprof.results import MemoryCurve, Result
from actprof.units import MIB
from actprof.words import allocator_text, cameras_text, images_text

# The order of the selects; each cell holds one index per axis.
AXES = ("setup", "resolution", "cameras", "batch", "allocator")
_MOST_POINTS = 100_000  # of a page: 150 KB


def pack_curves(results: Sequence[Result]) -> dict[str, Any]:
    """Return `axes` (names of the choices), `cells`, `curves`, `start` (cell shown first) and `colours`.

    A cell is `at` (an index per axis), `curve` (index, or None), `room` in MiB, `verdict` and `note` (a
    sentence). A curve is `allocated`, `reserved` (MiB more than at the point before), `phases` ((point,
    name), …) and `steps`.
    """
    setups = arrange(results)
    shown = [(setup.name, result) for setup in setups for result in setup.results]
    known = [result.cell for _, result in shown]
    choices: tuple[list[Any], ...] = (
        [setup.name for setup in setups],
        largest_image_first(known),
        sorted({cell.cameras for cell in known}),
        sorted({cell.batch_size for cell in known}),
        sorted({cell.alloc_conf for cell in known}),
    )
    texts: tuple[Callable[[Any], str], ...] = (
        str,
        partial(images_text, 1),
        cameras_text,
        str,
        allocator_text,
    )
    points = sum(len(result.curve.allocated_bytes) for _, result in shown if result.curve)
    stretch = max(1, -(-points // _MOST_POINTS))
    curves: dict[str, dict[str, Any]] = {}
    cells = []
    for name, result in shown:
        cell, curve = result.cell, result.curve and _pack_curve(result.curve, stretch)
        if curve:
            curves.setdefault(repr(curve), curve)
        values = (name, cell.resolution, cell.cameras, cell.batch_size, cell.alloc_conf)
        cells.append({
            "at": [some.index(value) for some, value in zip(choices, values, strict=True)],
            "curve": list(curves).index(repr(curve)) if curve else None,
            "room": round(result.available_bytes / MIB, 3),
            "verdict": result.verdict,
            "note": summary(result),
        })  # fmt: skip
    names = [[text(one) for one in some] for text, some in zip(texts, choices, strict=True)]
    return {
        "axes": dict(zip(AXES, names, strict=True)),
        "cells": cells,
        "curves": list(curves.values()),
        "start": _start(setups, cells),
        "colours": {**MEMORY, "room": ROOM, "mark": GREY, "phases": PHASES},
    }


def _pack_curve(curve: MemoryCurve, stretch: int) -> dict[str, Any]:
    """Return a curve with one point, the highest, for each `stretch` of them."""
    return {
        "allocated": _pack_sizes(curve.allocated_bytes, stretch),
        "reserved": _pack_sizes(curve.reserved_bytes, stretch),
        "phases": [[at // stretch, name] for at, name in curve.phases],
        "steps": [at // stretch for at in curve.steps],
    }


def _pack_sizes(sizes: Sequence[int], stretch: int) -> list[int]:
    highest = [round(max(sizes[at : at + stretch]) / MIB) for at in range(0, len(sizes), stretch)]
    return [after - before for before, after in pairwise((0, *highest))]


def _start(setups: Sequence[Setup], cells: Sequence[dict[str, Any]]) -> int:
    """Return the first cell beyond the limit of the first setup's focus, or else one that has a timeline."""
    focus = setups[0].focus if setups else None
    wanted = [r for r in reversed(focus.around_limit) if r.curve is not None] if focus else []
    order = [result for setup in setups for result in setup.results]
    found = (i for i, result in enumerate(order) if any(result is some for some in wanted[:1]))
    drawn = (i for i, cell in enumerate(cells) if cell["curve"] is not None)
    return next(found, next(drawn, 0))
