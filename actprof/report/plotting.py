"""What the figures of all pages share: layout, marks, axes, the words on pointing at something.

Figures have no colours of the page: text, grid and background come from a template that the page puts in, so
that they follow the light or dark scheme. Names in them are escaped, for plotly reads a subset of HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from actprof.units import GIB
from actprof.words import images_text

POINTED = "%{hovertext}<extra></extra>"  # what a mark with a `hovertext` shows when it is pointed at
SEAM = {"width": 1, "color": "rgba(255,255,255,.45)"}  # between the parts of a bar
CATEGORIES = {"type": "category", "showgrid": False, "ticks": ""}


def lay_out(
    figure: go.Figure, *, height: int, left: int, top: int = 18, bottom: int = 44, **layout: Any
) -> None:
    """Give a figure its size in pixels, and make it stand still: a finger on it scrolls the page.

    `left`, `top` and `bottom` are margins; labels longer than `left`, in a wide font, get the room they need.
    """
    figure.update_layout(
        height=height, margin={"l": left, "r": 12, "t": top, "b": bottom}, showlegend=False, dragmode=False,
        **{"hovermode": "closest", "hoverlabel": {"align": "left"}} | layout,
    )  # fmt: skip
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True, ticklabelstandoff=5, automargin="left")


def axis_title(text: str, standoff: int = 6) -> dict[str, Any]:
    """Return the title of an axis, so many pixels away from its labels."""
    return {"text": text, "standoff": standoff}


def row_heights(groups: Sequence[str]) -> list[float]:
    """Return a position per row, with a gap wherever the group changes."""
    heights: list[float] = []
    for index, group in enumerate(groups):
        gap = 0.45 if index and group != groups[index - 1] else 0.0
        heights.append((heights[-1] + 1 if heights else 0.0) + gap)
    return heights


def rows_axis(heights: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """Return a y axis of named rows, the first one on top; see `row_heights`."""
    return {
        "tickvals": heights, "ticktext": names, "ticks": "", "zeroline": False, "autorange": False,
        "range": [max(heights, default=0) + 0.8, -0.8],
    }  # fmt: skip


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Return a logarithmic axis from `low` to `high`."""
    return {"type": "log", "range": [round(math.log10(end), 4) for end in (low, high)], "zeroline": False}


def images_label(cameras: int, resolution: str) -> str:
    """Return the images of a sample as the label of a row: several sizes stand below each other."""
    return escape(images_text(cameras, resolution)).replace(", ", ",<br>")


def in_gib(sizes: Iterable[int]) -> list[float]:
    """Return bytes as GiB, as fine as a figure shows them."""
    return [round(size / GIB, 4) for size in sizes]


def segments(ends: Iterable[tuple[float, float, float]]) -> dict[str, list[float | None]]:
    """Return x and y of separate level lines, each from (first x, second x, height)."""
    lines = list(ends)
    return {
        "x": [x for first, second, _ in lines for x in (first, second, None)],
        "y": [y for _, _, height in lines for y in (height, height, None)],
    }
