"""The accuracy ledger: rows of predicted and measured runs in `rows.jsonl`, one JSON object per line.

Lines are sorted by what they are about, so that a new row is one new line. Predictions in it are refreshed
from the rows' cells; measurements are only ever added, and published figures and notes are typed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from actprof.errors import ActprofError, StoreError
from actprof.files import write_whole
from actprof.hardware import Catalogue, builtin_catalogue
from actprof.ledger.comparison import Figures, figures_of
from actprof.ledger.row import AccuracyRow, row_of
from actprof.prediction.passes import passes_peak_bytes
from actprof.prediction.predict import predict_cell
from actprof.progress import Listener, Progress, nobody
from actprof.results import MEASURED, PREDICTED, Result, Verdict
from actprof.step_time.calibration import uncalibrated

DEFAULT_FOLDER = Path("reports/accuracy")
FILE_NAME = "rows.jsonl"
_SHIPPED = Path(__file__).parent / FILE_NAME  # that of this project, wherever actprof is installed


# -- the file ------------------------------------------------------------------------------------------


def read_rows(folder: str | Path, *, missing_ok: bool = False) -> tuple[AccuracyRow, ...]:
    """Return the rows in `folder/rows.jsonl`; none where there is no such file and `missing_ok`.

    Where the folder is the usual one and has no rows, those that come with actprof.

    Raises:
        StoreError: the file cannot be read, or a line of it is no row.
    """
    path = Path(folder) / FILE_NAME
    if Path(folder) == DEFAULT_FOLDER and not path.exists():
        path = _SHIPPED
    if missing_ok and not path.exists():
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StoreError(f"{folder} has no {FILE_NAME}; add a measurement with --add to begin one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read ({error})") from error
    lines = enumerate(text.splitlines(), start=1)
    return tuple(_read_row(line, f"{path}:{number}") for number, line in lines if line.strip())


def _read_row(line: str, place: str) -> AccuracyRow:
    try:
        return AccuracyRow.from_json(json.loads(line))
    except (ValueError, TypeError, AttributeError, ActprofError) as error:
        raise StoreError(
            f"{place}: not a row of the ledger ({error}); mend the line, or remove it"
        ) from error


def write_rows(folder: str | Path, rows: Iterable[AccuracyRow]) -> Path:
    """Write `rows` to `folder/rows.jsonl`, whole or not at all, and return its path.

    Raises:
        StoreError: the file cannot be written.
    """
    path = Path(folder) / FILE_NAME
    lines = [json.dumps(row.to_json(), ensure_ascii=False) for row in sorted(rows, key=_place)]
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def _place(row: AccuracyRow) -> tuple[object, ...]:
    """Return what rows are sorted by: stable, and near to how one would look for a row."""
    cell = row.cell
    words = tuple("" if part is None else str(part) for part in row.key)
    return row.origin, row.gpu, cell.policy, cell.cameras, cell.resolution, cell.batch_size, words


# -- what may happen to rows ---------------------------------------------------------------------------


def refresh(rows: Iterable[AccuracyRow], *, listener: Listener = nobody) -> tuple[AccuracyRow, ...]:
    """Return `rows` as the present code predicts them; all else of a row stays, its notes included.

    The `listener` is told of each row before it is predicted.

    Raises:
        UsageError: a cell that can no longer be, such as one of a GPU that is not in the catalogue.
    """
    figures: dict[tuple[object, ...], Figures] = {}  # repeated runs have one prediction
    known, fresh = tuple(rows), []
    for done, row in enumerate(known):
        listener(Progress(total=len(known), done=done, running=(f"predicting {row.name}",)))
        if row.command_key not in figures:
            figures[row.command_key] = _predicted(row)
        fresh.append(replace(row, predicted=figures[row.command_key]))
    return tuple(fresh)


def _predicted(row: AccuracyRow) -> Figures:
    if row.passes:
        return Figures(allocated_bytes=passes_peak_bytes(row.cell, catalogue=_catalogue_of(row)))
    return figures_of(predict_row(row))


def predict_row(row: AccuracyRow) -> Result:
    """Return the prediction of a row: of its cell, held to what the card that ran it was held to.

    No calibration of this machine goes into it.

    Raises:
        UsageError: see `predict_cell`.
    """
    with uncalibrated():
        return predict_cell(row.cell, catalogue=_catalogue_of(row))


def _catalogue_of(row: AccuracyRow) -> Catalogue:
    """Return the shipped catalogue; a card that played another has as much room as that had."""
    catalogue = builtin_catalogue()
    if row.held_to_bytes is None or row.cell.gpu is None:
        return catalogue
    card = catalogue.find(row.cell.gpu)
    held = replace(
        card,
        capacity_bytes=row.held_to_bytes + card.context_bytes,
        cublas_workspace_bytes=row.cublas_workspace_bytes,
    )
    return Catalogue(tuple(held if gpu is card else gpu for gpu in catalogue.gpus))


def add_results(rows: Iterable[AccuracyRow], results: Iterable[Result]) -> tuple[AccuracyRow, ...]:
    """Return `rows` and those of the measured among `results`, each beside the prediction of its cell.

    A cell of which `results` has no prediction, or that ran on a card in the part of another, is predicted on
    the spot. A row about the same cell, device and origin is replaced; its notes stay when no difference has
    changed. Runs that failed and runs on a CPU have nothing to compare and are left out.

    Raises:
        UsageError: see `predict_cell`.
    """
    known = tuple(results)
    predictions = {result.cell.identity(): result for result in known if result.source == PREDICTED}
    ledger = {row.key: row for row in rows}
    for measured in filter(is_comparable, known):
        row = row_of(measured)
        known_as = "" if row.held_to_bytes else row.cell.identity()
        row = replace(row, predicted=figures_of(predictions.get(known_as) or predict_row(row)))
        former = ledger.get(row.key)
        if former is not None and _differences(former) == _differences(row):
            row = replace(row, notes=former.notes)
        ledger[row.key] = row
    return tuple(ledger.values())


def _differences(row: AccuracyRow) -> tuple[int | None, ...]:
    return tuple(row.difference_bytes(number) for number in ("allocated", "reserved", "process"))


def is_comparable(result: Result) -> bool:
    """Return whether `result` is a measurement whose memory can be set beside a prediction."""
    has_memory = result.source == MEASURED and not result.on_cpu
    return has_memory and result.verdict not in (Verdict.FAILED, Verdict.UNKNOWN)
