"""What a template needs to place figures: panels, and views to choose among. Plain records."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Figures that are shown together; a select chooses among several views, `first` is shown first."""

    name: str
    panels: tuple[Panel, ...]
    first: bool = False
