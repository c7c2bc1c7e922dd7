"""Sweeps: what is missing is answered and stored, what is known is not answered again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handmade import build_trace
from processes import crash, kill_oneself

from actprof.errors import FieldError, ScenarioError, TraceError, UsageError
from actprof.prediction import many
from actprof.prediction.many import predict_task
from actprof.processes.pool import InThisProcess, Workers
from actprof.scenario.loading import load_scenario
from actprof.sweeps import runner
from actprof.sweeps.store import ResultsStore
from actprof.trace.cache import save_trace


def counting(monkeypatch, task):
    """Count the calls of a task."""
    calls, real = [], getattr(many, task)
    monkeypatch.setattr(many, task, lambda *args: calls.append(args) or real(*args))
    return calls


def test_every_cell_is_answered_and_stored(scenario, store, here):
    """Four cells, four results, in the scenario's order."""
    results = runner.run_sweep(scenario, store, workers=here)

    assert list(scenario.cells) == [result.cell for result in results]
    assert {"fits"} == {result.verdict for result in results}


def test_a_second_run_answers_nothing(scenario, store, here, monkeypatch):
    """Everything known: no task runs; `fresh` runs them all again."""
    runner.run_sweep(scenario, store, workers=here)
    calls = counting(monkeypatch, "predict_task")
    runner.run_sweep(scenario, store, workers=here)
    again = len(calls)
    runner.run_sweep(scenario, store, workers=here, fresh=True)

    assert (0, 4) == (again, len(calls))


def test_only_what_is_missing_is_answered(scenario, store, here, monkeypatch):
    """Half of the cells stored: the other half is answered."""
    runner.run_sweep(replace(scenario, cells=scenario.cells[:2]), store, workers=here)
    calls = counting(monkeypatch, "predict_task")

    assert 4 == len(runner.run_sweep(scenario, store, workers=here))
    assert list(scenario.cells[2:]) == [call[0] for call in calls]


def test_newer_versions_make_answers_stale(scenario, store, here, monkeypatch):
    """Another torch: everything is answered again."""
    runner.run_sweep(scenario, store, workers=here)
    monkeypatch.setattr("actprof.sweeps.store.versions_for", lambda _cell: {"torch": "99"})
    calls = counting(monkeypatch, "predict_task")
    runner.run_sweep(scenario, store, workers=here)

    assert 4 == len(calls)


def test_an_interrupted_sweep_keeps_what_it_knew(scenario, store, here, monkeypatch):
    """Ctrl-C after the second answer: two are stored, and the next run does the other two."""

    def interrupt(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_sweep(scenario, store, workers=replace(here, listener=interrupt))
    calls = counting(monkeypatch, "predict_task")

    assert 2 <= len(store.results())
    assert 4 == len(runner.run_sweep(scenario, store, workers=here))
    assert len(calls) <= 2


def test_a_trace_that_cannot_be_made_leaves_unknown_cells(scenario, store, here, monkeypatch):
    """The sweep goes on; the cells say why."""

    def refuse(cell):
        raise TraceError("no fake for this op")

    monkeypatch.setattr("actprof.prediction.predict.trace_for", refuse)
    results = runner.run_sweep(scenario, store, workers=here)

    assert {("unknown", "no fake for this op")} == {(r.verdict, r.reason) for r in results}


def test_progress_counts_up_to_the_total(scenario, store, here):
    """The listener hears of every task, the last time with all done."""
    heard = []
    runner.run_sweep(scenario, store, workers=replace(here, listener=heard.append))

    assert (4, 4) == (heard[-1].total, heard[-1].done)
    assert sorted(p.done for p in heard) == [p.done for p in heard]


def test_workers_give_the_same_answers_as_this_process(scenario, store, here, tmp_path):
    """Two processes, the same four results."""
    results = runner.run_sweep(scenario, store, workers=here)
    with ResultsStore(tmp_path / "workers") as other:
        there = runner.run_sweep(scenario, other, workers=Workers(jobs=2))

    def numbers(results):
        return [{**r.to_json(), "timing": None} for r in results]

    assert numbers(results) == numbers(there)


def test_a_cell_whose_process_dies_is_unknown_until_the_next_sweep(scenario, store, monkeypatch):
    """The others are answered; what died is not taken for an answer."""
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "predict_task", die_of_batch_size_16)
        results = runner.run_sweep(scenario, store, workers=Workers(jobs=2, listener=heard.append))

    assert ["fits", "unknown"] * 2 == [result.verdict for result in results]
    assert {
        "the process that worked on it was killed by SIGKILL (the machine may have run out of memory)"
    } == {result.reason for result in results if result.verdict == "unknown"}
    assert (4, 4) == (heard[-1].done, heard[-1].total)
    calls = counting(monkeypatch, "predict_task")
    again = runner.run_sweep(scenario, store, workers=Workers(executor=InThisProcess()))
    assert [16, 16] == [cell.batch_size for cell, _gpus in calls]
    assert {"fits"} == {result.verdict for result in again}


def die_of_batch_size_16(cell, catalogue):
    if cell.batch_size == 16:
        kill_oneself()
    return predict_task(cell, catalogue)


def test_a_trace_that_kills_its_process_kills_no_second_one(tmp_path, store, here, monkeypatch):
    """All its cells are unknown at once."""
    path = tmp_path / "cold.yaml"
    path.write_text("set: {chunk_size: 9}\nsweep: {batch_size: [8, 16]}\n")
    monkeypatch.setattr(many, "trace_task", crash)
    calls, heard = counting(monkeypatch, "predict_task"), []
    results = runner.run_sweep(load_scenario(path), store, workers=Workers(jobs=1, listener=heard.append))

    assert [("unknown", "the process that worked on it was killed by SIGSEGV")] * 2 == [
        (result.verdict, result.reason) for result in results
    ]
    assert (3, 3) == (heard[-1].done, heard[-1].total)
    assert [] == calls


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UsageError("smolvla needs num2words"), "smolvla needs num2words"),
        (MemoryError(), "this machine has too little memory to work it out"),
        (KeyError("x"), "actprof failed (KeyError: 'x'); please report this"),
        (FieldError("too short; add --set a=5", "chunk_size"), "small.yaml:4: too short; add set: {a: 5}"),
    ],
)
def test_whatever_goes_wrong_in_one_cell_is_a_row(scenario, store, here, error, reason):
    """The others are answered; the next sweep asks again, as what was missing may be there."""

    def fail(cell, catalogue):
        if cell.batch_size == 16:
            raise error
        return predict_task(cell, catalogue)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "predict_task", fail)
        results = runner.run_sweep(scenario, store, workers=here)

    assert ["fits", "unknown"] * 2 == [result.verdict for result in results]
    assert {True} == {result.reason.endswith(reason) for result in results if result.verdict == "unknown"}
    assert {"fits"} == {result.verdict for result in runner.run_sweep(scenario, store, workers=here)}


def test_a_trace_that_fails_is_the_reason_of_all_its_cells(tmp_path, store, here, monkeypatch):
    """Not only of the one that was traced; and the sweep goes on."""

    def fail(_cell):
        raise ZeroDivisionError("nothing")

    path = tmp_path / "cold.yaml"
    path.write_text("set: {chunk_size: 9}\nsweep: {batch_size: [8, 16]}\n")
    monkeypatch.setattr(many, "trace_task", fail)
    results = runner.run_sweep(load_scenario(path), store, workers=here)

    assert ["actprof failed (ZeroDivisionError: nothing); please report this"] * 2 == [
        result.reason for result in results
    ]


def test_a_field_that_every_cell_is_refused_for_is_an_error_of_the_file(scenario, store, here, monkeypatch):
    """File and line, as of whatever else is wrong with it."""

    def refuse(*_args):
        raise FieldError("lerobot's act config has no field 'chunck'", "chunk_size")

    monkeypatch.setattr(many, "predict_task", refuse)
    with pytest.raises(ScenarioError, match=r"small\.yaml:4: lerobot's act config has no field 'chunck'"):
        runner.run_sweep(scenario, store, workers=here)


def test_a_swept_field_that_cannot_be_names_its_line(tmp_path, store, here, monkeypatch):
    """The line of the value, not of the axis; the other values are answered."""
    path = tmp_path / "swept.yaml"
    path.write_text("batch_size: 8\nsweep:\n  set.chunk_size:\n    - 7\n    - abc\n")

    def trace(cell):
        if cell.overrides["chunk_size"] == "abc":
            raise FieldError("chunk_size is 'abc'", "chunk_size")
        save_trace(build_trace(), cell)

    monkeypatch.setattr(many, "trace_task", trace)
    fits, refused = runner.run_sweep(load_scenario(path), store, workers=here)

    assert ("fits", "unknown") == (fits.verdict, refused.verdict)
    assert refused.reason.endswith("swept.yaml:5: chunk_size is 'abc'")


def test_a_damaged_row_is_answered_again(scenario, store, here):
    """A row that is no JSON counts as missing."""
    runner.run_sweep(scenario, store, workers=here)
    store._write("UPDATE results SET result = ? WHERE rowid = 1", ("{bad",))

    assert 3 == len(store.results())
    assert 4 == len(runner.run_sweep(scenario, store, workers=here))
