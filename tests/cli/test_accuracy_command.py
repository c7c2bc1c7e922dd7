"""`actprof accuracy` on hand-made traces."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actprof.ledger.comparison import Figures
from actprof.ledger.keep import read_rows, refresh, write_rows
from actprof.ledger.row import AccuracyRow
from actprof.measurement import DeviceFacts, Measurement
from actprof.prediction.predict import predict_cell
from actprof.units import GIB


@pytest.fixture
def ledger(tmp_path, seed):
    """A folder with a published row that is predicted exactly, and one that is 2 % off without a cause."""
    rows = refresh(
        AccuracyRow(cell=seed(batch_size=size), origin="published", gpu="RTX 3090", source="a log")
        for size in (8, 16)
    )
    exact, off = (row.predicted.allocated_bytes for row in rows)
    figures = (
        Figures(allocated_bytes=exact, verdict="ran", max_batch_size=rows[0].predicted.max_batch_size),
        Figures(allocated_bytes=round(off / 1.02), verdict="ran"),
    )
    write_rows(tmp_path, [replace(row, measured=f) for row, f in zip(rows, figures, strict=True)])
    return tmp_path


@pytest.mark.parametrize("columns", [80, 120])
def test_the_answer_comes_first_and_lines_fit_the_terminal(run, ledger, monkeypatch, columns):
    """Then the summary by kind, the worst rows, and where the page is."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("accuracy", ledger)

    assert 0 == shown.code
    assert shown.out.startswith("In two runs, predicted allocated memory is within 2.00")
    assert shown.out.index("median") < shown.out.index("batch 16") < shown.out.index("batch 8")
    assert "+2.00 %*" in shown.out
    assert ["2", "1"] == line_of(shown.out, "native, benchmark, published")[:2]
    assert ["0"] == line_of(shown.out, "said to run, ran out")
    assert ["1"] == line_of(shown.out, "differences without a cause")
    assert "No row was measured by actprof itself" in shown.out
    tables = shown.out.split("\n\n")[1:3]
    assert columns >= max(len(line.rstrip()) for table in tables for line in table.splitlines())
    assert f"wrote {ledger / 'accuracy.html'}" in shown.err.replace("\n", "")
    assert (ledger / "accuracy.html").is_file()


def line_of(text, title):
    """Return the words that stand behind a title."""
    (line,) = (line for line in text.splitlines() if line.strip().startswith(title))
    return line.split(title)[1].split()


def test_few_rows_are_shown_and_all_on_request(run, ledger):
    """The worst ones; what all of them have in common is said once."""
    rows = read_rows(ledger)
    more = [replace(row, gpu=f"GPU {number}") for number in range(6) for row in rows]
    write_rows(ledger, [replace(row, cell=replace(row.cell, overrides={"chunk_size": 50})) for row in more])
    shown, whole = run("accuracy", ledger).out, run("accuracy", ledger, "--rows").out

    assert "The worst of 12 rows (--rows shows all), chunk_size=50" in shown
    assert (5, 12) == (shown.count("ACT, "), whole.count("ACT, "))
    assert 1 == whole.count("chunk_size=50")


def test_repeated_runs_are_shown_with_the_band(run, ledger, monkeypatch):
    """Lowest and highest of each, beside what was predicted."""
    monkeypatch.setenv("COLUMNS", "160")
    first, second = read_rows(ledger)
    found = Figures(allocated_bytes=GIB, reserved_bytes=2 * GIB)
    runs = [
        replace(first, run="a", measured=found),
        replace(first, run="b", measured=replace(found, reserved_bytes=3 * GIB)),
    ]
    said = replace(first.predicted, reserved_band_bytes=(GIB, 3 * GIB))
    write_rows(ledger, [second, *(replace(row, predicted=said) for row in runs)])
    shown = run("accuracy", ledger).out

    assert ["2", "1.000", "to", "1.000", "2.000", "to", "3.000", "1.000", "to", "3.000"] == (
        line_of(shown.split("Measured again")[1].split("Rows")[0], first.name)
    )
    summary = shown.split("Measured again")[0].split("\nreserved")[1]
    assert "2 of 2" in " ".join(line_of(summary, "native, benchmark, published"))


def test_a_long_name_has_room_before_bytes(run, ledger, monkeypatch):
    """A row is read by its name: where bytes would squeeze it, percentages are enough."""
    rows = [replace(row, gpu="NVIDIA H100 80GB HBM3 as RTX 3090") for row in read_rows(ledger)]
    sizes = {"reserved_bytes": 3 << 30, "process_bytes": 4 << 30}
    write_rows(ledger, [replace(row, measured=replace(row.measured, **sizes)) for row in rows])
    for columns, is_wide in ((120, False), (180, True)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert is_wide == ("KiB" in run("accuracy", ledger).out.split("Rows")[1])


@pytest.mark.parametrize("columns", [80, 120])
def test_seconds_of_a_step_have_a_column_and_a_line(run, ledger, monkeypatch, columns):
    """Where a row has them."""
    assert " step\n" not in run("accuracy", ledger).out
    first, *rest = read_rows(ledger)
    said = first.predicted.step_seconds
    timed = replace(first, measured=replace(first.measured, step_seconds=said / 1.1, max_batch_size=None))
    write_rows(ledger, [timed, *rest])
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("accuracy", ledger).out

    assert "step" in shown.split("Rows")[1].splitlines()[1].split()
    assert "+10.0 %" in shown
    assert ["1", "0", "10.00", "%"] == line_of(shown, "seconds of a step")[:4]


def test_json_is_one_object(run, ledger):
    """Rows, summary and the path of the page."""
    data = json.loads(run("accuracy", ledger, "--json").out)

    assert {"rows", "allocated", "reserved", "process", "boundaries", "tried", "verdicts"} <= set(data)
    assert (2, 1, 1) == (len(data["rows"]), data["boundaries"]["exact"], len(data["unexplained"]))
    assert ["native, benchmark, published"] == [kind["title"] for kind in data["kinds"]]
    assert {"held", "n", "outside", "width_percent"} == set(data["allocated_band"])
    assert "allocated" in data["rows"][0]["band_holds"]
    assert str(ledger / "accuracy.html") == data["page"]


def test_a_measurement_is_added(run, ledger, tmp_path, seed):
    """What `actprof measure --json` printed becomes a row beside its prediction."""
    measured = replace(
        predict_cell(seed(batch_size=32)), source="measured", measurement=Measurement(command="measure it"),
        device=DeviceFacts(type="cuda", name="NVIDIA GeForce RTX 3090"),
    )  # fmt: skip
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(measured.to_json()))
    shown = run("accuracy", ledger, "--add", path)

    assert 0 == shown.code, shown.err
    assert "NVIDIA GeForce RTX 3090" in shown.out
    assert "No row was measured" not in shown.out
    assert ["measured", "published", "published"] == [row.origin for row in read_rows(ledger)]


def test_a_check_of_a_true_ledger_succeeds_and_writes_no_page(run, ledger):
    """Nothing has changed, and nothing that was said to fit ran out."""
    shown = run("accuracy", ledger, "--check")

    assert (0, "") == (shown.code, shown.err)
    assert not (ledger / "accuracy.html").exists()


def test_a_check_fails_on_a_stale_prediction_until_it_is_refreshed(run, ledger):
    """The row is named with the remedy."""
    first, second = read_rows(ledger)
    write_rows(ledger, [first, replace(second, predicted=Figures(allocated_bytes=GIB, verdict="fits"))])
    shown = run("accuracy", ledger, "--check")

    assert 1 == shown.code
    assert f"No longer predicted as stored (see --refresh)\n  {second.name}" in shown.out
    assert 0 == run("accuracy", ledger).code
    assert 0 == run("accuracy", ledger, "--refresh").code
    assert 0 == run("accuracy", ledger, "--check").code


def test_a_check_fails_when_a_run_that_was_said_to_fit_ran_out(run, ledger):
    """Without --check it is only shown."""
    first, second = read_rows(ledger)
    write_rows(ledger, [first, replace(second, measured=Figures(verdict="oom"))])
    shown = run("accuracy", ledger, "--check")

    assert 1 == shown.code
    assert f"Said to run, and ran out\n  {second.name}" in shown.out
    assert 0 == run("accuracy", ledger).code


def test_a_folder_without_a_ledger_is_an_error(run, tmp_path):
    """With what is missing."""
    shown = run("accuracy", tmp_path)

    assert 1 == shown.code
    assert "has no rows.jsonl" in shown.err
