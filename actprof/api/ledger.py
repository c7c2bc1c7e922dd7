"""The accuracy ledger: how true predictions are, and how measurements get into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actprof.errors import ActprofError, StoreError, UsageError
from actprof.files import write_whole
from actprof.ledger.accuracy import Accuracy, summarise
from actprof.ledger.contribution import KIND as CONTRIBUTION
from actprof.ledger.contribution import Contribution, contribution_of, keep_calibration
from actprof.ledger.keep import DEFAULT_FOLDER, add_results, is_comparable, read_rows, write_rows
from actprof.ledger.keep import refresh as predict_again
from actprof.progress import Listener, nobody
from actprof.results import MEASURED, PREDICTED, Result
from actprof.running.summary import KIND as RUN_SUMMARY
from actprof.running.summary import RunSummary
from actprof.step_time.calibration import stored_calibration

PAGE_NAME = "accuracy.html"


def accuracy(
    folder: str | Path = DEFAULT_FOLDER,
    *,
    add: Sequence[str | Path] = (),
    refresh: bool = False,
    check: bool = False,
    listener: Listener = nobody,
) -> Accuracy:
    """Return how true predictions are, by the ledger in `folder`, and write its page there.

    Args:
        folder: with `rows.jsonl`; the page is `accuracy.html`.
        add: folders of sweeps with measured results, files that `actprof measure --json` printed,
            summaries of `actprof run`, and what others contribute.
        refresh: predict every row again and store that.
        check: predict every row again and only compare (see `changed`); no page is written.
        listener: told of each row before it is predicted.

    Raises:
        UsageError: nothing can be compared in what is to be added, or a cell that can no longer be.
        StoreError: a file cannot be read or written, or there is no ledger.
    """
    shared = {path: found for path in add if (found := _read_contribution(Path(path))) is not None}
    results = [result for path in add if path not in shared for result in read_results(path)]
    stored = add_results(read_rows(folder, missing_ok=bool(add)), results)
    others = [row for found in shared.values() for row in found.rows]
    stored = tuple({row.key: row for row in (*stored, *others)}.values())
    rows = predict_again(stored, listener=listener) if refresh or check else stored
    for found in shared.values():
        if found.calibration is not None:
            keep_calibration(folder, found.calibration)
    if add or refresh:
        write_rows(folder, rows if refresh else stored)
    pairs = zip(rows, stored, strict=True)
    changed = tuple(row for row, former in pairs if row.predicted != former.predicted)
    answer = replace(summarise(rows), changed=changed)
    if not check:
        from actprof.report.accuracy_page import render_accuracy
        from actprof.report.page import write_page

        write_page(Path(folder) / PAGE_NAME, render_accuracy(answer))
    return answer


def contribute(path: str | Path, *, add: Sequence[str | Path] = ()) -> Contribution:
    """Write one file for others: this machine's calibration, and measured runs; return what is in it.

    Args:
        path: of the file.
        add: where measured results are, as for `accuracy`; each is predicted anew, without the calibration.

    Raises:
        UsageError: there is neither a calibration nor a measurement, or one of them cannot be used.
        StoreError: a file cannot be read or written.
    """
    measured = [result for place in add for result in read_results(place) if result.source == MEASURED]
    calibration = stored_calibration()
    if calibration is None and not measured:
        raise UsageError(
            "there is nothing to contribute: make a calibration with actprof calibrate, or name measured "
            "runs with --add"
        )
    found = contribution_of(add_results((), measured), calibration)
    write_whole(Path(path), f"{json.dumps(found.to_json(), indent=2)}\n".encode())
    return found


def read_results(path: str | Path) -> tuple[Result, ...]:
    """Return the results of a sweep's folder, a run's summary, or what `actprof measure --json` printed.

    Raises:
        UsageError: there is no measurement of a GPU in it that could be compared.
        StoreError: it cannot be read.
    """
    from actprof.sweeps.store import ResultsStore

    source = Path(path)
    if source.is_dir():
        with ResultsStore(source, create=False) as store:
            measured = store.results(source=MEASURED)
            cells = [result.cell for result in measured]
            results: Sequence[Result] = (*measured, *store.results(cells, source=PREDICTED))
    else:
        results = _read_file(source)
    if not any(map(is_comparable, results)):
        raise UsageError(_nothing_to_compare(source, results))
    return tuple(results)


def _read_contribution(path: Path) -> Contribution | None:
    """Return what somebody contributes, None where the file is something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Contribution.from_json(data) if data.get("kind") == CONTRIBUTION else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _read_file(path: Path) -> list[Result]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("kind") != RUN_SUMMARY:
            return [Result.from_json(data)]
        summary = RunSummary.from_json(data)
        return [result for result in (summary.measured, summary.predicted) if result is not None]
    except (ValueError, TypeError, AttributeError, ActprofError) as error:
        raise UsageError(
            f"{path} is not what `actprof measure --json` prints, nor a summary of `actprof run` ({error}); "
            "save that as it is"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or error})") from error


def _nothing_to_compare(path: Path, results: Sequence[Result]) -> str:
    measured = [result for result in results if result.source == MEASURED]
    if not measured:
        return f"{path} has no measured result; measure on a GPU with `actprof measure --json` and add that"
    first = measured[0]
    if first.on_cpu:
        return f"{path} was measured on a CPU, which has no CUDA memory to compare; measure on a GPU"
    return f"{path} has only runs that failed ({first.reason or first.verdict}); measure again"
