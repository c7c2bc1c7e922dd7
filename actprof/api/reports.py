"""The report of a sweep, from its store, and what else lies in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.records import from_plain
from actprof.results import MEASURED

if TYPE_CHECKING:
    from actprof.loading.rows import LoaderResult

REPORT_NAME = "report.html"
CSV_NAME = "results.csv"
LOADING_NAME = "loader.json"


def write_report(folder: str | Path) -> Path:
    """Write `report.html` from the store in `folder` and return its path; needs no torch.

    Raises:
        StoreError: there is no store, or the page cannot be written.
        UsageError: it has more runs than a page shows.
    """
    from actprof.claims.judge import Outcome
    from actprof.report.page import write_page
    from actprof.report.sweep_page import Report, render_report
    from actprof.sweeps.store import ResultsStore

    folder = Path(folder)
    with ResultsStore(folder, create=False) as store:
        meta = store.meta()
        if meta.get("cells", []) is None:
            raise UsageError(
                f"{folder} has {meta['planned']:,} runs, too many for a page; read {folder / CSV_NAME}"
            )
        cells = [Cell.from_json(cell) for cell in meta.get("cells", [])] or None
        known = ("name", "question", "command", "created", "versions")
        page = Report(
            **{"name": folder.name, **{name: meta[name] for name in known if name in meta}},
            results=store.results(cells),
            measured=store.results(cells, source=MEASURED),
            planned=None if cells is None else len(cells),
            groundings=store.groundings(cells),
            outcomes=tuple(from_plain(Outcome, outcome) for outcome in meta.get("outcomes", [])),
            loading=_loading(meta, folder),
        )
    return write_page(folder / REPORT_NAME, render_report(page))


def _loading(meta: dict[str, Any], folder: Path) -> LoaderResult | None:
    """Return the loader's results that are in the store, or beside it since before there was a sweep."""
    from actprof.loading.rows import LoaderResult

    beside = folder / LOADING_NAME
    if "loading" not in meta and beside.is_file():
        return LoaderResult.from_json(json.loads(beside.read_text(encoding="utf-8")))
    return LoaderResult.from_json(meta["loading"]) if "loading" in meta else None
