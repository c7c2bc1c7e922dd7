"""The accuracy ledger: its file, what is added to it, and predictions that never go stale. No torch."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import actprof
from actprof.api.ledger import PAGE_NAME, read_results
from actprof.errors import StoreError, UsageError
from actprof.ledger.comparison import Figures, figures_of
from actprof.ledger.keep import (
    FILE_NAME,
    add_results,
    predict_row,
    read_rows,
    refresh,
    write_rows,
)
from actprof.ledger.row import AccuracyRow
from actprof.measurement import CardUse, DeviceFacts, Measurement
from actprof.prediction.predict import predict_cell
from actprof.sweeps.store import ResultsStore
from actprof.units import GIB, MIB

DEVICE = DeviceFacts(type="cuda", name="NVIDIA GeForce RTX 3090", driver="580.95")
RUN = Measurement(
    command="actprof measure --json", date="2026-01-02", card=CardUse(samples=1, process_bytes=1)
)


@pytest.fixture
def measure(seed):
    """Return measurements that find what is predicted, and `more` bytes."""

    def measured(*, more=0, device=DEVICE, run=RUN, **fields):
        own = {name: fields.pop(name) for name in ("verdict", "reason") if name in fields}
        found = predict_cell(seed(**fields))
        return replace(
            found,
            source="measured",
            peak_allocated_bytes=found.peak_allocated_bytes + more,
            device=device,
            measurement=run,
            **own,
        )

    return measured


@pytest.fixture
def published(seed):
    """Return published rows of hand-made cells, as they are typed: without a prediction."""

    def row(**fields):
        cell = seed(**fields)
        figures = Figures(allocated_bytes=predict_cell(cell).peak_allocated_bytes, verdict="ran")
        return AccuracyRow(cell=cell, origin="published", gpu="RTX 3090", measured=figures, source="a log")

    return row


def save(result, path):
    """Write a result as `actprof measure --json` prints it."""
    path.write_text(json.dumps(result.to_json()), encoding="utf-8")
    return path


# -- the file


def test_rows_come_back_as_they_were_written(tmp_path, published):
    """Each equal, in a stable order whatever the order of writing."""
    rows = [published(batch_size=size) for size in (64, 8, 16)]
    first = write_rows(tmp_path, rows).read_bytes()

    assert [8, 16, 64] == [row.cell.batch_size for row in read_rows(tmp_path)]
    assert first == write_rows(tmp_path, reversed(rows)).read_bytes()
    assert first == write_rows(tmp_path, read_rows(tmp_path)).read_bytes()


def test_a_new_row_is_one_new_line(tmp_path, published):
    """So that differences of the file stay small."""
    old = write_rows(tmp_path, [published(batch_size=8), published(batch_size=64)]).read_text()
    new = write_rows(tmp_path, [*read_rows(tmp_path), published(batch_size=16)]).read_text()

    assert set(old.splitlines()) < set(new.splitlines())
    assert 1 + len(old.splitlines()) == len(new.splitlines())


def test_a_line_that_is_no_row_is_named(tmp_path, published):
    """File, line and remedy; blank lines are no rows."""
    path = write_rows(tmp_path, [published()])
    path.write_text(path.read_text() + "\n\n{not json}\n")
    with pytest.raises(StoreError, match=rf"{FILE_NAME}:4: not a row of the ledger .*; mend the line"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    "line", ["[]", '"text"', '{"origin": "measured"}', '{"cell": {}, "origin": "x", "gpu": "y"}']
)
def test_other_json_is_no_row_either(tmp_path, line):
    """A list, a text, a row without cell, an origin that does not exist."""
    (tmp_path / FILE_NAME).write_text(line)
    with pytest.raises(StoreError, match="not a row of the ledger"):
        read_rows(tmp_path)


def test_a_folder_without_a_ledger_is_an_error_unless_one_begins(tmp_path):
    """The message says how to begin one."""
    assert () == read_rows(tmp_path, missing_ok=True)
    with pytest.raises(StoreError, match=r"has no rows\.jsonl; add a measurement with --add"):
        read_rows(tmp_path)


# -- refresh


def test_refresh_predicts_the_cell_of_each_row(published):
    """A row without prediction, or with an old one, gets that of the present code; the rest stays."""
    typed = published(batch_size=8)
    stale = replace(typed, predicted=Figures(allocated_bytes=1, verdict="oom"), notes="because")
    told = []
    first, second = refresh([typed, stale], listener=told.append)
    assert (0, "fits") == (first.difference_bytes("allocated"), first.predicted.verdict)
    assert first.predicted == second.predicted
    assert replace(stale, predicted=first.predicted) == second
    assert [(2, 0, f"predicting {typed.name}"), (2, 1, f"predicting {stale.name}")] == [
        (state.total, state.done, state.text) for state in told
    ]


def test_repeated_runs_have_one_prediction(published, monkeypatch):
    """They are rows of their own, and of the same command."""
    runs = [replace(published(batch_size=8), run=name) for name in ("first", "second")]
    answers = iter([predict_row(runs[0])])
    monkeypatch.setattr("actprof.ledger.keep.predict_row", lambda _row: next(answers))

    assert 1 == len({row.predicted for row in refresh(runs)}) < len({row.key for row in runs})


def test_a_card_that_played_another_is_predicted_as_it_was_held(published):
    """With its own kernels, the room that the played card left, and its cuBLAS workspace."""
    row = published(batch_size=8, gpu="H100 80 GB")
    held = replace(row, held_to_bytes=GIB, cublas_workspace_bytes=8_519_680)
    free, limited = (predict_row(one) for one in (row, held))

    assert GIB == limited.gpu.capacity_bytes - limited.gpu.context_bytes
    assert (free.gpu.name, free.gpu.context_bytes) == (limited.gpu.name, limited.gpu.context_bytes)
    assert free.max_batch_size > limited.max_batch_size
    assert free.peak_allocated_bytes > limited.peak_allocated_bytes


# -- add


def test_a_measurement_is_paired_with_the_prediction_of_its_cell(measure):
    """Predictions that come along are used, without one the cell is predicted."""
    measured = measure(batch_size=8, more=MIB)
    (alone,) = add_results([], [measured])
    other = replace(predict_cell(measured.cell), peak_allocated_bytes=5 * MIB)
    (paired,) = add_results([], [other, measured])

    assert -MIB == alone.difference_bytes("allocated")
    assert 5 * MIB == paired.predicted.allocated_bytes


def test_predictions_alone_add_nothing(seed):
    """A row needs a measurement."""
    assert () == add_results([], [predict_cell(seed())])


def test_a_second_measurement_replaces_the_first(measure, published):
    """The same cell, device and origin; another device or origin is another row."""
    rows = (published(batch_size=8), *add_results([], [measure(batch_size=8)]))
    again = add_results(rows, [measure(batch_size=8, more=MIB)])
    elsewhere = add_results(again, [measure(batch_size=8, device=replace(DEVICE, name="RTX 4090"))])

    assert (2, rows[0]) == (len(again), again[0])
    assert -MIB == again[1].difference_bytes("allocated")
    assert 3 == len(elsewhere)


def test_what_played_another_card_is_predicted_anew(measure, seed):
    """A prediction of the played card says nothing of it."""
    device = replace(DEVICE, name="NVIDIA H100 80GB HBM3")
    measured = measure(batch_size=8, device=device, run=replace(RUN, cap_bytes=GIB))
    wrong = replace(predict_cell(seed(batch_size=8)), peak_allocated_bytes=5 * MIB)
    (row,) = add_results([], [wrong, measured])

    assert ("H100 80 GB", GIB) == (row.cell.gpu, row.held_to_bytes)
    assert figures_of(predict_row(row)) == row.predicted


def test_notes_outlive_a_measurement_that_finds_the_same(measure):
    """The cause of a difference is not that of another one."""
    (row,) = add_results([], [measure(more=MIB)])
    explained = (replace(row, notes="a workspace"),)

    assert "a workspace" == add_results(explained, [measure(more=MIB)])[0].notes
    assert "" == add_results(explained, [measure(more=2 * MIB)])[0].notes


def test_runs_that_failed_and_runs_on_a_cpu_are_left_out(measure):
    """There is nothing to compare."""
    failed = measure(verdict="error")
    on_cpu = measure(device=DeviceFacts(type="cpu", name="a processor"))

    assert () == add_results([], [failed, on_cpu])


def test_a_file_of_one_measurement_is_read(tmp_path, measure):
    """What `actprof measure --json` prints."""
    measured = measure()

    assert (measured,) == read_results(save(measured, tmp_path / "measured.json"))


def test_a_sweeps_folder_gives_measurements_with_their_predictions(tmp_path, measure, seed):
    """Predictions of cells that were not measured stay where they are."""
    measured = measure(batch_size=8)
    predicted = replace(predict_cell(measured.cell), peak_allocated_bytes=MIB)
    with ResultsStore(tmp_path) as store:
        for result in (predicted, measured, predict_cell(seed(batch_size=16))):
            store.put_result(result, "stamp")
    results = read_results(tmp_path)

    assert {"measured", "predicted"} == {result.source for result in results}
    assert [MIB] == [row.predicted.allocated_bytes for row in add_results([], results)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": "error", "reason": "no driver"}, r"only runs that failed \(no driver\); measure again"),
        ({"device": DeviceFacts(type="cpu", name="a processor")}, "measured on a CPU"),
    ],
)
def test_a_file_without_anything_to_compare_says_why(tmp_path, measure, fields, words):
    """A failed run, a CPU."""
    with pytest.raises(UsageError, match=words):
        read_results(save(measure(**fields), tmp_path / "measured.json"))


def test_a_prediction_is_no_measurement(tmp_path, seed):
    """The message says what to do."""
    with pytest.raises(UsageError, match="has no measured result; measure on a GPU"):
        read_results(save(predict_cell(seed()), tmp_path / "predicted.json"))


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"source": "measured"}'])
def test_any_other_file_is_refused(tmp_path, text):
    """It is not a result."""
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not what `actprof measure --json` prints"):
        read_results(path)


def test_what_is_not_there_cannot_be_added(tmp_path):
    """Neither a file nor a folder without results."""
    with pytest.raises(StoreError, match=r"none\.json cannot be read"):
        read_results(tmp_path / "none.json")
    with pytest.raises(StoreError, match=r"has no results\.sqlite"):
        read_results(tmp_path)


# -- all of it


def test_adding_begins_a_ledger_and_writes_its_page(tmp_path, measure):
    """Row and page are there; a second look needs nothing but the folder."""
    path = save(measure(batch_size=8), tmp_path / "measured.json")
    found = actprof.accuracy(tmp_path / "ledger", add=[path])

    assert found == actprof.accuracy(tmp_path / "ledger")
    assert {FILE_NAME, PAGE_NAME} == {file.name for file in (tmp_path / "ledger").iterdir()}
    assert (1, 0.0) == (found.allocated.n, found.allocated.worst_percent)


def test_a_check_tells_what_has_changed_and_writes_nothing(tmp_path, published):
    """Only a refresh stores it, and only then it has not changed any more."""
    stale = replace(published(), predicted=Figures(allocated_bytes=MIB, verdict="fits"))
    path = write_rows(tmp_path, [stale])
    before = path.read_bytes()

    assert [stale.key] == [row.key for row in actprof.accuracy(tmp_path, check=True).changed]
    assert (before, [path]) == (path.read_bytes(), list(tmp_path.iterdir()))
    assert 1 == len(actprof.accuracy(tmp_path, refresh=True).changed)
    assert () == actprof.accuracy(tmp_path, check=True).changed
    assert before != path.read_bytes()


def test_without_refresh_nothing_is_predicted(tmp_path, published, monkeypatch):
    """Showing the ledger needs its rows alone."""
    write_rows(tmp_path, refresh([published()]))
    monkeypatch.setattr("actprof.ledger.keep.predict_cell", lambda _cell: pytest.fail("it predicted"))

    assert 1 == actprof.accuracy(tmp_path).allocated.n


def test_a_row_of_passes_alone_has_a_peak_and_a_name_of_its_own(published):
    """Without batch and optimizer: below the run's own peak, and beside that run's row."""
    row = published(batch_size=8)
    row, alone = refresh([row, replace(row, passes=True)])

    assert alone.key != row.key
    assert f"{row.name}, forward and backward only" == alone.name
    assert alone == AccuracyRow.from_json(json.loads(json.dumps(alone.to_json())))
    assert "passes" not in row.to_json()
    assert replace(alone.predicted, allocated_bytes=None) == Figures()
    assert alone.predicted.allocated_bytes < row.predicted.allocated_bytes
