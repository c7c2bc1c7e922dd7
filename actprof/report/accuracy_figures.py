"""Figures of the accuracy page: predicted against measured, and how the differences are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from actprof.ledger.comparison import NUMBERS
from actprof.ledger.row import AccuracyRow
from actprof.report.palette import GREY, MEMORY, PROCESS, device_colour
from actprof.report.plotting import POINTED, SEAM, axis_title, in_gib, lay_out, log_axis
from actprof.units import format_bytes
from actprof.words import difference_text

SYMBOLS = {"allocated": "circle", "reserved": "square", "process": "diamond"}
COLOURS = {**MEMORY, "process": PROCESS}
_WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # of a bar, in percent
_MOST_BARS = 24
_FEW = 6  # rows in a bar, up to which each has a line
_LABELS = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200")
_TICKS = {"tickvals": [float(label) for label in _LABELS], "ticktext": _LABELS}  # GiB, of logarithmic axes
_DECADE = 10  # from this ratio of largest to smallest on, the axes are logarithmic


def devices_of(rows: Sequence[AccuracyRow]) -> dict[tuple[str, str], str]:
    """Return the colour of each (origin, device) with a number to compare, sorted by name."""
    pairs = sorted({(row.origin, row.gpu) for row in rows if numbers_of([row])})
    return {pair: device_colour(index, len(pairs)) for index, pair in enumerate(pairs)}


def numbers_of(rows: Sequence[AccuracyRow]) -> tuple[str, ...]:
    """Return the numbers that at least one row has both predicted and measured."""
    return tuple(
        number for number in NUMBERS if any(row.difference_bytes(number) is not None for row in rows)
    )


def draw_scatter(rows: Sequence[AccuracyRow]) -> go.Figure:
    """Return predicted over measured GiB: colours by device, symbols by number, and the diagonal."""
    figure = go.Figure()
    seen: list[float] = []
    for (origin, gpu), colour in devices_of(rows).items():
        group = [row for row in rows if (row.origin, row.gpu) == (origin, gpu)]
        for number in numbers_of(group):
            known = [row for row in group if row.difference_bytes(number) is not None]
            y, x = (in_gib(sizes) for sizes in zip(*(row.sizes(number) for row in known), strict=True))
            seen += x + y
            figure.add_scatter(
                x=x, y=y, mode="markers", name=f"{escape(gpu)}, {number}",
                marker={"color": colour, "symbol": SYMBOLS[number], "size": 10, "opacity": 0.85},
                hovertext=[_describe(row, number) for row in known], hovertemplate=POINTED,
            )  # fmt: skip
    low, high = min(seen), max(seen)
    is_log = low > 0 and high / low >= _DECADE
    edges = (low / 1.3, high * 1.3) if is_log else (0.0, high * 1.08)
    figure.add_scatter(
        x=edges, y=edges, mode="lines", hoverinfo="skip", name="equal",
        line={"color": GREY, "width": 1, "dash": "dash"},
    )  # fmt: skip
    figure.data = (figure.data[-1], *figure.data[:-1])  # beneath the marks
    axis = {**log_axis(*edges), **_TICKS} if is_log else {"range": list(edges), "zeroline": False}
    lay_out(figure, height=400, left=52, top=10, bottom=48)
    figure.update_xaxes(title=axis_title("measured, GiB"), **axis)
    figure.update_yaxes(title=axis_title("predicted, GiB", 4), **axis)
    return figure


def draw_errors(rows: Sequence[AccuracyRow]) -> go.Figure:
    """Return how many numbers of each kind are how many percent off, in bars of equal width."""
    percents = {
        number: [value for row in rows if (value := row.difference_percent(number)) is not None]
        for number in numbers_of(rows)
    }
    every = [value for values in percents.values() for value in values]
    width = bar_width(every)
    figure = go.Figure()
    for number, values in percents.items():
        bars = count_bars(values, width)
        figure.add_bar(
            x=[round(place * width, 6) for place in bars], y=list(bars.values()), width=width, name=number,
            marker={"color": COLOURS[number], "line": SEAM},
            customdata=[[(place - 0.5) * width, (place + 0.5) * width] for place in bars],
            hovertemplate="%{y} rows: " + number
            + " off by %{customdata[0]:+.3~f} to %{customdata[1]:+.3~f} %<extra></extra>",
        )  # fmt: skip
    reach = max(max(map(abs, every), default=0.0) + width, 3 * width)
    lay_out(figure, height=400, left=52, top=10, bottom=48, barmode="stack")
    figure.update_xaxes(title=axis_title("predicted minus measured, % of measured"), range=[-reach, reach])
    highest = max(count_bars(every, width).values(), default=1)
    ticks = {"dtick": 1} if highest <= _FEW else {"nticks": _FEW}  # no halves of rows
    figure.update_yaxes(title=axis_title("rows", 4), range=[0, 1.05 * highest], **ticks)
    return figure


def bar_width(percents: Sequence[float]) -> float:
    """Return the width of a bar in percent: round, and so that no more than two dozen stand in a row."""
    reach = 2 * max(map(abs, percents), default=0.0)
    return next((width for width in _WIDTHS if reach / width <= _MOST_BARS), _WIDTHS[-1])


def count_bars(percents: Sequence[float], width: float) -> dict[int, int]:
    """Return how many values are in each bar, by its place; the bar at place 0 is centred on zero."""
    return dict(sorted(Counter(round(value / width) for value in percents).items()))


def _describe(row: AccuracyRow, number: str) -> str:
    predicted, measured = (getattr(f, f"{number}_bytes") for f in (row.predicted, row.measured))
    return (
        f"<b>{escape(row.name)}</b><br>{number}: predicted {format_bytes(predicted, digits=3)}, "
        f"{row.origin} {format_bytes(measured, digits=3)}"
        f"<br>{difference_text(predicted - measured, measured)}"
    )
