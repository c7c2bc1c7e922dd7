"""Sweeps: what is missing is answered and stored, what is known is not answered again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from handmade import build_trace
from processes import crash, kill_oneself

from actprof.errors import TraceError, UsageError
from actprof.measuring.grounding import Grounding, GroundingError
from actprof.prediction import many
from actprof.prediction.many import predict_task
from actprof.processes.pool import InThisProcess, Workers
from actprof.results import GpuUse, Result
from actprof.scenario.loading import load_scenario
from actprof.sweeps import runner
from actprof.sweeps.store import ResultsStore
from actprof.trace.cache import save_trace

SCENARIO = """
# Does it fit?
name: small
set: {chunk_size: 7}
gpu: RTX 3090
sweep:
  resolution: [640x480, 320x240]
  batch_size: [8, 16]
"""


@pytest.fixture
def scenario(tmp_path, seed):
    """Four cells whose two traces are cached."""
    for resolution in ("640x480", "320x240"):
        seed(resolution=resolution)
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return load_scenario(path)


@pytest.fixture
def store(tmp_path):
    with ResultsStore(tmp_path / "out") as store:
        yield store


@pytest.fixture
def here():
    """A thread of this process, so that tests can stand in for tasks."""
    with ThreadPoolExecutor(1) as executor:
        yield Workers(executor=executor)


def grounding(cell, tokens=7):
    return Grounding(
        policy=cell.policy, cameras=cell.cameras, resolution=cell.resolution, batch_size=2,
        encoder_tokens=tokens, output_shape=(1,), parameters=0,
        forward_seconds=1.0, backward_seconds=1.0, update_seconds=1.0,
    )  # fmt: skip


def counting(monkeypatch, task):
    """Count the calls of a task."""
    calls, real = [], getattr(many, task)
    monkeypatch.setattr(many, task, lambda *args: calls.append(args) or real(*args))
    return calls


def test_every_cell_is_answered_and_stored(scenario, store, here):
    """Four cells, four results, in the scenario's order."""
    results = runner.run_sweep(scenario, store, workers=here, ground=False)

    assert list(scenario.cells) == [result.cell for result in results]
    assert {"fits"} == {result.verdict for result in results}


def test_a_second_run_answers_nothing(scenario, store, here, monkeypatch):
    """Everything known: no task runs; `fresh` runs them all again."""
    runner.run_sweep(scenario, store, workers=here, ground=False)
    calls = counting(monkeypatch, "predict_task")
    runner.run_sweep(scenario, store, workers=here, ground=False)
    again = len(calls)
    runner.run_sweep(scenario, store, workers=here, ground=False, fresh=True)

    assert (0, 4) == (again, len(calls))


def test_only_what_is_missing_is_answered(scenario, store, here, monkeypatch):
    """Half of the cells stored: the other half is answered."""
    runner.run_sweep(replace(scenario, cells=scenario.cells[:2]), store, workers=here, ground=False)
    calls = counting(monkeypatch, "predict_task")

    assert 4 == len(runner.run_sweep(scenario, store, workers=here, ground=False))
    assert list(scenario.cells[2:]) == [call[0] for call in calls]


def test_newer_versions_make_answers_stale(scenario, store, here, monkeypatch):
    """Another torch: everything is answered again."""
    runner.run_sweep(scenario, store, workers=here, ground=False)
    monkeypatch.setattr("actprof.sweeps.store.versions_for", lambda _cell: {"torch": "99"})
    calls = counting(monkeypatch, "predict_task")
    runner.run_sweep(scenario, store, workers=here, ground=False)

    assert 4 == len(calls)


def test_an_interrupted_sweep_keeps_what_it_knew(scenario, store, here, monkeypatch):
    """Ctrl-C after the second answer: two are stored, and the next run does the other two."""

    def interrupt(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_sweep(scenario, store, workers=replace(here, listener=interrupt), ground=False)
    calls = counting(monkeypatch, "predict_task")

    assert 2 <= len(store.results())
    assert 4 == len(runner.run_sweep(scenario, store, workers=here, ground=False))
    assert len(calls) <= 2


def test_a_trace_that_cannot_be_made_leaves_unknown_cells(scenario, store, here, monkeypatch):
    """The sweep goes on; the cells say why."""

    def refuse(cell):
        raise TraceError("no fake for this op")

    monkeypatch.setattr("actprof.prediction.predict.trace_for", refuse)
    results = runner.run_sweep(scenario, store, workers=here, ground=False)

    assert {("unknown", "no fake for this op")} == {(r.verdict, r.reason) for r in results}


def test_each_distinct_policy_is_grounded_once(scenario, store, here, monkeypatch):
    """Two resolutions, two CPU runs, whatever the number of batch sizes."""
    calls = []
    monkeypatch.setattr(runner, "ground", lambda cell: calls.append(cell) or grounding(cell))
    runner.run_sweep(scenario, store, workers=here)
    runner.run_sweep(scenario, store, workers=here)

    assert ["640x480", "320x240"] == [cell.resolution for cell in calls]
    assert 2 == len(store.groundings(scenario.cells))


def test_a_real_run_that_differs_from_the_trace_is_an_error(scenario, store, here, monkeypatch):
    """The message names both numbers, and the wrong grounding is not stored."""
    monkeypatch.setattr(runner, "ground", lambda cell: grounding(cell, tokens=602))

    with pytest.raises(GroundingError, match="encoder tokens 602, the trace 7"):
        runner.run_sweep(scenario, store, workers=here)
    assert () == store.groundings()


def test_progress_counts_up_to_the_total(scenario, store, here):
    """The listener hears of every task, the last time with all done."""
    heard = []
    runner.run_sweep(scenario, store, workers=replace(here, listener=heard.append), ground=False)

    assert (4, 4) == (heard[-1].total, heard[-1].done)
    assert sorted(p.done for p in heard) == [p.done for p in heard]


def test_workers_give_the_same_answers_as_this_process(scenario, store, here, tmp_path):
    """Two processes, the same four results."""
    results = runner.run_sweep(scenario, store, workers=here, ground=False)
    with ResultsStore(tmp_path / "workers") as other:
        there = runner.run_sweep(scenario, other, workers=Workers(jobs=2), ground=False)

    def numbers(results):
        return [{**r.to_json(), "timing": None} for r in results]

    assert numbers(results) == numbers(there)


def test_a_cell_whose_process_dies_is_unknown_until_the_next_sweep(scenario, store, monkeypatch):
    """The others are answered; what died is not taken for an answer."""
    heard = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "predict_task", die_of_batch_size_16)
        results = runner.run_sweep(
            scenario, store, workers=Workers(jobs=2, listener=heard.append), ground=False
        )

    assert ["fits", "unknown"] * 2 == [result.verdict for result in results]
    assert {
        "the process that worked on it was killed by SIGKILL (the machine may have run out of memory)"
    } == {result.reason for result in results if result.verdict == "unknown"}
    assert (4, 4) == (heard[-1].done, heard[-1].total)
    calls = counting(monkeypatch, "predict_task")
    again = runner.run_sweep(scenario, store, workers=Workers(executor=InThisProcess()), ground=False)
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
    results = runner.run_sweep(
        load_scenario(path), store, workers=Workers(jobs=1, listener=heard.append), ground=False
    )

    assert [("unknown", "the process that worked on it was killed by SIGSEGV")] * 2 == [
        (result.verdict, result.reason) for result in results
    ]
    assert (3, 3) == (heard[-1].done, heard[-1].total)
    assert [] == calls


def test_a_real_run_that_kills_its_process_is_only_a_warning(scenario, store, monkeypatch, caplog):
    """The cells are answered; there is nothing to compare their traces with."""
    monkeypatch.setattr(runner, "ground", kill_oneself)
    results = runner.run_sweep(scenario, store, workers=Workers(jobs=1))

    assert {"fits"} == {result.verdict for result in results}
    assert "act 640x480 2 cameras chunk_size=7 was not run on the CPU: the process" in caplog.text
    assert () == store.groundings()


def test_a_usage_error_of_a_cell_ends_the_sweep(scenario, store, here, monkeypatch):
    """What lerobot refuses is the user's to mend; it is not a verdict."""

    def refuse(*_args):
        raise UsageError("lerobot refuses this policy: chunk_size")

    monkeypatch.setattr(many, "predict_task", refuse)
    with pytest.raises(UsageError, match="chunk_size"):
        runner.run_sweep(scenario, store, workers=here, ground=False)


def test_a_grounding_waits_for_its_trace(tmp_path, store, here, monkeypatch):
    """However fast the real run is, it is compared: the trace comes first, cached or not."""
    path = tmp_path / "cold.yaml"
    path.write_text("set: {chunk_size: 9}\nbatch_size: 8\n")
    cold, order = load_scenario(path), []

    def trace(cell):
        order.append("trace")
        save_trace(build_trace(), cell)

    monkeypatch.setattr(many, "trace_task", trace)
    monkeypatch.setattr(many, "predict_task", lambda cell, _gpus: unknown(cell))
    monkeypatch.setattr(runner, "ground", lambda cell: order.append("ground") or grounding(cell, tokens=8))

    with pytest.raises(GroundingError, match="encoder tokens 8, the trace 7"):
        runner.run_sweep(cold, store, workers=here)
    assert ["trace", "ground"] == order


def unknown(cell):
    gpu = GpuUse(name="any", capacity_bytes=1, context_bytes=1)
    return Result(source="predicted", cell=cell, gpu=gpu)


def test_a_refused_cell_is_named(scenario, store, here, monkeypatch):
    """The message says which cell lerobot refuses."""

    def refuse(*_args):
        raise UsageError("lerobot refuses this policy: too short")

    monkeypatch.setattr(many, "predict_task", refuse)
    with pytest.raises(UsageError, match="act 640x480 2 cameras chunk_size=7 batch 8: lerobot refuses"):
        runner.run_sweep(scenario, store, workers=here, ground=False)


def test_a_damaged_row_is_answered_again(scenario, store, here):
    """A row that is no JSON counts as missing."""
    runner.run_sweep(scenario, store, workers=here, ground=False)
    store._write("UPDATE results SET result = ? WHERE rowid = 1", ("{bad",))

    assert 3 == len(store.results())
    assert 4 == len(runner.run_sweep(scenario, store, workers=here, ground=False))
