"""What pages are made of, as plain records of unescaped text; `macros.html.j2` lays each of them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

NOTHING = "\u2013"  # where there is no such number
Key = Sequence[tuple[str, ...]]  # of a figure: (name, colour), and the symbol where it is no patch


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of a summary, what it is of, and what stands below it; `bad` as state is an alarm."""

    title: str
    value: str
    notes: tuple[str, ...]
    state: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in one place of a table."""

    text: str
    css: str = ""  # classes, instead of those of the column; `n` is a number
    sort: float | str | None = None  # by what a table that sorts does so
    badge: str = ""  # a verdict or state whose colours the text gets
    notes: tuple[str, ...] = ()  # lines below the text
    bar: float | None = None  # the length of a bar, from 0 to 1 of the longest
    colour: str = ""  # of the bar, or of a swatch before the text


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, and what unfolds below it: named facts, a table, and labelled texts."""

    entries: tuple[Entry | str, ...]
    css: str = ""
    verdict: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its rows have an entry per column."""

    label: str  # what it shows, for those who cannot see it
    columns: tuple[tuple[str, str], ...]  # (heading, classes of the column); `hidden` ones are only read out
    rows: tuple[Row, ...]
    css: str = ""
    box: str = ""  # classes of the box that it scrolls in
    caption: str = ""
    named: bool = False  # whether the first entry names its row
    noun: str = ""  # what one row is, if rows unfold
    sorts: str = ""  # how the first column is (`none`, `descending`), of the table that the reader sorts
    groups: tuple[tuple[str, int], ...] = ()  # (heading, number of columns below it), of the last columns


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure: the id of its JSON, its heading, and what it shows for those who cannot see it.

    Heatmaps also say their number of batch sizes (`columns`) and with which others they stand (`row`).
    """

    figure: str
    title: str
    label: str
    columns: int = 0
    row: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown together; a select chooses among several views by name, `first` is shown first."""

    name: str
    panels: tuple[Panel, ...] = ()
    first: bool = False
    table: Table | None = None
    key: Key = ()  # of the figures, where views differ in it
    note: str = ""  # between figures and table
    second: Table | None = None  # below the first


def columns(*texts: str, numbers: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """Return columns of text, then columns of numbers, for a `Table`."""
    return (*((name, "") for name in texts), *((name, "n") for name in numbers))


def rows(lines: Iterable[Sequence[Any]]) -> tuple[Row, ...]:
    """Return plain rows for a `Table`."""
    return tuple(Row(tuple(line)) for line in lines)


def dotted(*parts: str) -> str:
    """Return a name of several parts, `one camera · 640x480`; empty ones are left out."""
    return " \u00b7 ".join(filter(None, parts))


def with_first(views: Sequence[View]) -> tuple[View, ...]:
    """Return the views with exactly one shown first."""
    shown = next((i for i, view in enumerate(views) if view.first), 0)
    return tuple(replace(view, first=i == shown) for i, view in enumerate(views))
