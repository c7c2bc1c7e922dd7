"""One file for others: a machine's calibration and the runs measured on it, with nothing personal in it.

A row keeps its cell, figures, device, date and versions. Commands and notes are left out, and
of a cell's own settings those whose text names a file, a folder or an account.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from actprof.files import write_whole
from actprof.ledger.row import AccuracyRow
from actprof.records import from_plain, to_plain
from actprof.step_time.calibration import Calibration

KIND = "actprof contribution"
SCHEMA_VERSION = 1
CALIBRATIONS = "calibrations.jsonl"
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

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what `to_json` gave."""
        rows = tuple(AccuracyRow.from_json(row) for row in data.get("rows", ()))
        return replace(from_plain(cls, {**data, "rows": ()}), rows=rows)


def contribution_of(rows: Iterable[AccuracyRow], calibration: Calibration | None) -> Contribution:
    """Return what can be shared of rows and a calibration."""
    return Contribution(rows=tuple(map(_impersonal, rows)), calibration=calibration)


def _impersonal(row: AccuracyRow) -> AccuracyRow:
    cell = row.cell
    kept = replace(cell, overrides=_without_places(cell.overrides), peft=_without_places(cell.peft))
    lost = sorted({*cell.overrides, *cell.peft} - {*kept.overrides, *kept.peft})
    notes = f"left out of the cell: {', '.join(lost)}" if lost else ""
    return replace(row, cell=kept, run=row.date, command="", notes=notes)


def _without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not _PLACE.search(str(value))}


def keep_calibration(folder: str | Path, calibration: Calibration) -> None:
    """Put a calibration that somebody shares beside the ledger's rows, one a line; one that is there stays.

    Raises:
        StoreError: the file cannot be written.
    """
    path = Path(folder) / CALIBRATIONS
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    line = json.dumps(calibration.to_json(), ensure_ascii=False)
    write_whole(path, "".join(f"{one}\n" for one in sorted({*known, line})).encode())
