"""`actprof sweep`: the answers first, whatever cannot be told as rows, nothing lost."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from actprof.errors import FieldError, StoreError
from actprof.prediction import many
from actprof.sweeps import cpu_check
from actprof.sweeps.store import ResultsStore

SCENARIO = "set: {chunk_size: 7}\ngpu: RTX 3090\nsweep:\n  batch_size: [8, 16, 200000, 300000]\n"


@pytest.fixture
def scenario(tmp_path, seed, monkeypatch):
    """Four runs of which two need more memory than CUDA has addresses for the half of."""
    monkeypatch.chdir(tmp_path)
    seed()
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO)
    return file


def sweep(run, scenario, *options):
    return run("sweep", scenario, "--mode", "predict", "--jobs", 1, *options)


def test_the_figure_is_the_process_and_says_so(run, scenario):
    """Words as in the report; no blank at the end of a line, none longer than 120 columns."""
    shown = sweep(run, scenario, "--no-cpu-check")
    lines = shown.out.splitlines()

    assert 0 == shown.code
    assert lines[0].startswith("Process memory in GiB by batch size, predicted (reserved + CUDA context, ")
    assert "✗ out of memory" == lines[1]
    assert lines[2].endswith("largest batch size")
    assert "4 runs: 2 fit, 2 out of memory" in lines
    assert [line for line in lines if line != line.rstrip() or len(line) > 120] == []


def test_a_table_too_wide_is_several(run, scenario, monkeypatch):
    """No figure is cut off; the largest batch size stands once."""
    monkeypatch.setenv("COLUMNS", "58")
    shown = sweep(run, scenario, "--no-cpu-check").out

    assert 2 == shown.count("640x480    2")
    assert all(size in shown for size in (" 8 ", " 16", "200000", "300000"))
    assert 1 == " ".join(shown.split()).count("largest batch size")


def test_markdown_is_a_table_for_an_issue(run, scenario):
    """Nothing but the table and what it means on stdout."""
    shown = sweep(run, scenario, "--no-cpu-check", "--markdown").out.splitlines()

    heads = "| resolution | cameras | allocator | 8 | 16 | 200000 | 300000 | largest batch size |"
    assert heads in shown
    assert "4 runs: 2 fit, 2 out of memory" == shown[-1]


def test_what_cannot_be_told_is_counted_with_its_reasons(run, scenario, monkeypatch):
    """The exit code is 0 as ever; a reason of the file names its line."""
    predicted = many.predict_cell

    def fail(cell, *, catalogue):
        if cell.batch_size == 16:
            raise FieldError("too short; add --set n_action_steps=7", "chunk_size")
        return predicted(cell, catalogue=catalogue)

    monkeypatch.setattr(many, "predict_cell", fail)
    monkeypatch.setattr(many, "worker_pool", None, raising=False)
    monkeypatch.setattr("actprof.processes.pool.CAN_START", False)
    shown = sweep(run, scenario, "--no-cpu-check")

    assert 0 == shown.code
    assert "4 runs: 1 fit, 2 out of memory, 1 cannot be told" in shown.out
    assert "  1 run: " in shown.out
    assert "small.yaml:1: too short; add set: {n_action_steps: 7}" in shown.out
    assert "too short" in sweep(run, scenario, "--no-cpu-check", "--markdown").out


def test_answers_come_before_the_check_on_the_cpu(run, scenario, monkeypatch, capsys):
    """Files and table are there when the check begins; Ctrl-C leaves it out, and the exit code is 0."""
    seen = []

    def interrupt(*_args, **_options):
        seen.append((capsys.readouterr().out, (scenario.parent / "reports/small/report.html").is_file()))
        raise KeyboardInterrupt

    monkeypatch.setattr(cpu_check, "check_on_cpu", interrupt)
    shown = sweep(run, scenario)

    ((printed, has_report),) = seen
    assert "4 runs: 2 fit, 2 out of memory" in printed
    assert has_report
    assert (0, "the check on the CPU is left out; the answers are there\n") == (shown.code, shown.err)


def test_ctrl_c_says_what_is_kept(run, scenario, monkeypatch):
    """Only a sweep says so."""

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("actprof.sweeps.runner.answer_missing", interrupt)
    shown = sweep(run, scenario)

    assert 130 == shown.code
    assert "what was answered is kept" in shown.err


@pytest.mark.parametrize("name", ["write_csv", "write_whole"])
def test_a_full_disk_loses_no_table(run, scenario, monkeypatch, name):
    """It is printed, then comes the error."""

    def full(*_args):
        raise StoreError("results.csv cannot be written (No space left on device)")

    monkeypatch.setattr(f"actprof.sweeps.table.{name}", full)
    shown = sweep(run, scenario)

    assert 1 == shown.code
    assert "4 runs: 2 fit, 2 out of memory" in shown.out
    assert "actprof: results.csv cannot be written (No space left on device)\n" == shown.err


def test_a_store_that_is_full_keeps_the_answers_for_the_table(run, scenario, monkeypatch):
    """What is answered after that is in memory; the error says what to do."""
    put = ResultsStore.put_result

    def fill(store, result, stamp):
        if store.lost is None:
            store._connection.execute("PRAGMA max_page_count = 1")
        put(store, result, stamp)

    monkeypatch.setattr(ResultsStore, "put_result", fill)
    shown = sweep(run, scenario)

    assert 1 == shown.code
    assert "4 runs: 2 fit, 2 out of memory" in shown.out
    assert "is full); choose another folder with --out, or make room on the disk" in shown.err


def test_json_has_the_runs_on_the_cpu(run, scenario, monkeypatch):
    """One object, when everything is known."""
    monkeypatch.setattr(cpu_check, "why_not_on_cpu", lambda _policy: "it is too large")
    data = json.loads(sweep(run, scenario, "--json").out)

    assert (4, []) == (len(data["results"]), data["cpu_checks"])


def test_a_large_sweep_has_a_table_of_all_its_runs_and_no_page(run, scenario, monkeypatch):
    """What is printed is how many there are of each verdict; the table is the one of a small sweep."""
    small = sweep(run, scenario, "--no-cpu-check", "--out", "small").code
    monkeypatch.setattr("actprof.sweeps.table.MOST_SHOWN", 3)
    monkeypatch.setattr("actprof.sweeps.table._PART", 3)
    shown = sweep(run, scenario, "--no-cpu-check", "--out", "large")
    lines = shown.out.splitlines()

    assert (0, 0) == (small, shown.code)
    assert "predicted  4 runs: 2 fit, 2 out of memory" == lines[0]
    assert [] == [line for line in lines if line.startswith("report")]
    assert "4 runs: results.csv will have them all; a table and a report are for at most 3\n" == shown.err
    table, whole = (pd.read_csv(f"{folder}/results.csv") for folder in ("large", "small"))
    pd.testing.assert_frame_equal(whole, table.sort_values("batch_size", ignore_index=True))
    assert 2 == sweep(run, scenario, "--json").code
    refused = run("report", "large")
    assert (2, True) == (refused.code, "large has 4 runs, too many for a page" in refused.err)


def test_status_tells_how_far_a_sweep_is(run, scenario):
    """From another terminal, or when it is over."""
    sweep(run, scenario, "--no-cpu-check")
    shown = run("sweep", "--status", "reports/small").out.splitlines()
    data = json.loads(run("sweep", "--status", "reports/small", "--json").out)

    assert ["small: 4 runs planned", "predicted  4 runs: 2 fit, 2 out of memory"] == shown[:2]
    assert shown[2].startswith("tasks    4 of 4 tasks done")
    assert shown[3].endswith(": done")
    assert (4, False, {"fits": 2, "oom": 2}) == (
        data["planned"],
        data["is_alive"],
        data["counts"]["predicted"],
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "name a SCENARIO file, or a folder with --status"),
        (("--slurm", "fast", "--status", "x"), "'fast' is not NAME=VALUE, like partition=gpu"),
        (("--status", "nowhere"), "nowhere has no results.sqlite"),
    ],
)
def test_what_cannot_be_asked_is_said(run, options, words):
    """In a sentence."""
    shown = run("sweep", *options)

    assert (shown.code in (1, 2), True) == (True, words in shown.err)
