"""Colours: one scale for the share of the device that a cell needs, and fixed colours for what holds memory.

The scale runs through blues while a run fits and through oranges once it does not, which every common kind
of colour blindness tells apart; the verdict stands in the cell as text all the same. Marks and lines keep a
contrast of at least three to one against both the light and the dark page.
"""

from __future__ import annotations

from itertools import pairwise

from actprof.report.arrange import share_of_device
from actprof.results import Result, Verdict

# A shade is the share of the device for runs that fit (0 to 1); bands of their own beside it say the rest.
ERROR, UNKNOWN, _TIGHT, _OOM = -0.3, -0.1, 1.1, 1.2
_STOPS = (
    (-0.4, "#bfa3d6"), (-0.22, "#bfa3d6"),
    (-0.2, "#b7bcc3"), (-0.02, "#b7bcc3"),
    (0.0, "#d9e7f5"), (0.5, "#8dbae0"), (1.0, "#1c5a99"),
    (1.02, "#f4c542"), (1.18, "#f4c542"),
    (1.2, "#e98246"), (2.2, "#7d2308"),
)  # fmt: skip
SHADES = (_STOPS[0][0], _STOPS[-1][0])

_ALLOCATORS = ("#2f7dc4", "#cf6a17", "#15876b", "#9a62c7", "#c4568f", "#7a828c")
_DEVICES = (*_ALLOCATORS[:5], "#7a8a2e", "#d64545", "#7a828c", "#2492ad", "#a97c12")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
# Activations have the strong hues, by component; what does not grow with the batch is grey.
_KINDS = {
    "parameters": "#4f5a67", "gradients": "#a2513f", "optimizer state": "#8a95a3",
    "gathered parameters": "#5d6f9c", "moving average": "#6d7f73", "gradient buckets": "#7b4a63",
    "inputs": "#aa7a18", "temporaries": "#8c8226", "workspaces": "#4d8f96",
    "activations": "#2f7dc4", "other": "#a3acb7",
}  # fmt: skip
# Over time: what is held, what the device has for PyTorch, the phases of a step, and marks of any kind.
MEMORY = {"allocated": "#2f7dc4", "reserved": "#7f8894"}
PROCESS, REQUESTED = "#15876b", "#15876b"  # never in one figure
ROOM, RAN_OUT, GREY = "#cf6a17", "#c2410c", "#8f98a3"
PHASES = {
    "setup": GREY, "data": "#aa7a18", "forward": "#2f7dc4", "backward": "#9a62c7", "optimizer": "#15876b",
}  # fmt: skip
# What a step waits for.
LIMITS = {
    "launches": "#cf6a17", "arithmetic": "#2f7dc4", "bandwidth": "#15876b", "data": "#9a62c7",
    "communication": "#c4568f",
}  # fmt: skip
_COMPONENTS = ("#2f7dc4", "#15876b", "#cf6a17", "#9a62c7", "#c4568f", "#3f8f96", "#7a8a2e")
_TINT = "#dfe5ec"


def shade(result: Result) -> float:
    """Return where a result stands on the scale."""
    if result.verdict == Verdict.FAILED:
        return ERROR
    if result.verdict == Verdict.TIGHT:
        return _TIGHT
    share = share_of_device(result)
    if result.verdict == Verdict.OOM:
        return _OOM + min(max((share or 0.0) - 1, 0.0), 1.0)
    return UNKNOWN if result.verdict == Verdict.UNKNOWN or share is None else min(share, 1.0)


def colour_at(value: float) -> str:
    """Return the colour of a shade as `#rrggbb`."""
    for (low, first), (high, second) in pairwise(_STOPS):
        if value <= high:
            part = min(max((value - low) / (high - low), 0.0), 1.0)
            return mix(first, second, part)
    return _STOPS[-1][1]


def colour_scale() -> list[list[float | str]]:
    """Return the scale as plotly wants it: positions from 0 to 1."""
    low, high = SHADES
    return [[(at - low) / (high - low), colour] for at, colour in _STOPS]


def css_gradient(low: float, high: float) -> str:
    """Return the part of the scale between two shades as a CSS gradient, for the legend."""
    steps = [low + (high - low) * i / 8 for i in range(9)]
    return f"linear-gradient(to right, {', '.join(colour_at(step) for step in steps)})"


def text_on(colour: str) -> str:
    """Return black or white, whichever reads better on `colour`; one of them always reaches 4.5 to 1."""
    return max(("#000000", "#ffffff"), key=lambda text: contrast(text, colour))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2, relative luminance)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def mix(first: str, second: str, part: float) -> str:
    """Return the colour that lies `part` of the way from `first` to `second`."""
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def allocator_mark(index: int) -> tuple[str, str]:
    """Return the colour and plotly's symbol of one of several settings; the first four share neither."""
    return _ALLOCATORS[index % len(_ALLOCATORS)], _SYMBOLS[index % len(_SYMBOLS)]


def device_colour(index: int, count: int) -> str:
    """Return the colour of one of several devices; no two have the same.

    Those beyond the first ten are mixed of two neighbours, which keeps the contrast of both to either page.
    """
    base = _DEVICES[index % len(_DEVICES)]
    rounds, later = -(-count // len(_DEVICES)), index // len(_DEVICES)
    return mix(base, _DEVICES[(index + 1) % len(_DEVICES)], later / max(rounds, 1))


def kind_colour(kind: str) -> str:
    """Return the colour of a kind of memory other than activations."""
    return _KINDS.get(kind, _KINDS["other"])


def component_colour(index: int, shade_index: int = 0) -> str:
    """Return the colour of a component; its groups are shades of it."""
    return mix(_COMPONENTS[index % len(_COMPONENTS)], _TINT, min(0.24 * shade_index, 0.72))


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
