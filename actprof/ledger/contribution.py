"""One file for others: a machine's calibration and the runs measured on it, with nothing personal in it.

A row keeps its cell, figures, device, date and versions. Commands, names of runs and notes are left out, and
of a cell's own settings those whose text names a file, a folder or an account.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actprof.ledger.row import AccuracyRow
from actprof.records import to_plain
from actprof.step_time.calibration import Calibration

KIND = "actprof contribution"
SCHEMA_VERSION = 1
_PLACE = re.compile(r"[/\\~@]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What somebody shares: rows of runs measured by actprof, and their calibration if there is one."""

    rows: tuple[AccuracyRow, ...] = ()
    calibration: Calibration | None = None
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values; rows are as in the ledger."""
        data: dict[str, Any] = to_plain(replace(self, rows=()))
        return {**data, "rows": [row.to_json() for row in self.rows]}


def contribution_of(rows: Iterable[AccuracyRow], calibration: Calibration | None) -> Contribution:
    """Return what can be shared of rows and a calibration."""
    return Contribution(rows=tuple(map(_impersonal, rows)), calibration=calibration)


def _impersonal(row: AccuracyRow) -> AccuracyRow:
    cell = row.cell
    kept = replace(cell, overrides=_without_places(cell.overrides), peft=_without_places(cell.peft))
    lost = sorted({*cell.overrides, *cell.peft} - {*kept.overrides, *kept.peft})
    notes = f"left out of the cell: {', '.join(lost)}" if lost else ""
    return replace(row, cell=kept, run="", command="", notes=notes)


def _without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not _PLACE.search(str(value))}
