"""Several measured runs at once: on several GPUs, or sharing one that has room for them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from test_measuring import BIG, standing_in

from actprof.measurement import Measurement
from actprof.results import GpuUse, Result
from actprof.scenario.grid import build_scenario
from actprof.sweeps import measure_cells as room
from actprof.sweeps.measure_cells import measure_cells, plan_measuring
from actprof.sweeps.store import ResultsStore
from actprof.units import GIB

SECOND = replace(BIG, index=1, uuid="GPU-2")
CARD = GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=0)


class AtOnce:
    """Stands for what measures: each run waits until `expected` are running, and tells who was beside it."""

    def __init__(self, expected=1, found=None):
        self.expected, self.found = expected, found or {}
        self.changed, self.running, self.most = threading.Condition(), [], 0
        self.runs = []

    def __call__(self, *, choice, memory_only, shares, **_options):
        return _One(self, choice, memory_only, shares)


class _One:
    def __init__(self, all_, choice, memory_only, shares):
        self.all, self.choice, self.how = all_, choice, (memory_only, shares)

    def measure(self, cell):
        with self.all.changed:
            self.all.runs.append((cell.batch_size, self.choice.gpu.index, self.how))
            self.all.running.append(cell.batch_size)
            self.all.most = max(self.all.most, len(self.all.running))
            self.all.changed.notify_all()
            self.all.changed.wait_for(lambda: self.all.most >= self.all.expected, timeout=20)
            self.all.running.remove(cell.batch_size)
        fields = self.all.found.get((cell.batch_size, self.how[1]), {})
        return Result(source="measured", cell=cell, gpu=CARD, **{"verdict": "fits"} | fields)


@pytest.fixture(autouse=True)
def _four_at_a_time(monkeypatch):
    monkeypatch.setattr(room, "default_jobs", lambda: 4)


def measure(folder, runs, *, gpus=(BIG,), batches=(8, 16), predicted=(), **options):
    """Measure batch sizes on a 3090 that is played; `predicted` have a prediction of 9 GiB."""
    scenario = build_scenario({"gpu": "RTX 3090"}, {"batch_size": list(batches)})
    plan = plan_measuring(scenario, "measure", gpus=lambda: gpus)
    with ResultsStore(folder) as store, standing_in(runs, gpus):
        for cell in scenario.cells:
            if cell.batch_size in predicted:
                store.put_result(_prediction(cell), "stamp")
        measure_cells(plan, store, **options)
        return {result.cell.batch_size: result for result in store.results(source="measured")}


def _prediction(cell):
    return Result(source="predicted", cell=cell, gpu=CARD, verdict="fits", headroom_bytes=15 * GIB)


def test_equal_gpus_have_a_run_each(tmp_path):
    """Two at once on two GPUs, each alone on its own, and timed."""
    runs = AtOnce(expected=2)
    measure(tmp_path, runs, gpus=(BIG, SECOND))

    assert 2 == runs.most
    assert [(8, 0, (False, False)), (16, 1, (False, False))] == sorted(runs.runs)


def test_one_gpu_has_one_run_at_a_time(tmp_path):
    """Where times are taken."""
    runs = AtOnce()
    measure(tmp_path, runs, predicted=(8, 16))

    assert 1 == runs.most


def test_runs_share_a_gpu_where_they_are_predicted_to_fit(tmp_path):
    """Three of at most 24 GB each on 80; the fourth waits; what was not predicted runs alone in the end."""
    runs = AtOnce(expected=3)
    measure(tmp_path, runs, batches=(8, 16, 24, 32, 40), predicted=(8, 16, 24, 32), share_gpu=True)

    assert 3 == runs.most
    assert [(size, 0, (True, True)) for size in (8, 16, 24, 32)] == sorted(runs.runs[:-1])
    assert (40, 0, (True, False)) == runs.runs[-1]


@pytest.mark.parametrize(
    "found", [{"verdict": "oom"}, {"verdict": "error"}, {"measurement": Measurement(allocator_retries=1)}]
)
def test_what_neighbours_may_have_decided_is_found_again_alone(tmp_path, found):
    """Out of memory, failed, or short of it once: the row is that of the run that had the GPU to itself."""
    runs = AtOnce(found={(8, True): found})
    rows = measure(tmp_path, runs, predicted=(8, 16), share_gpu=True)

    assert (8, 0, (True, False)) == runs.runs[-1]
    assert 3 == len(runs.runs)
    assert "fits" == rows[8].verdict


def test_memory_alone_is_not_enough_where_times_are_asked_for(tmp_path):
    """It is measured again then; what was timed is known for memory as well."""
    for expected, options in ((2, {"share_gpu": True}), (2, {}), (0, {"share_gpu": True}), (0, {})):
        runs = AtOnce()
        measure(tmp_path, runs, **options)
        assert expected == len(runs.runs)


@contextmanager
def remembered(ended):
    try:
        yield
    finally:
        ended.append("server")


def test_an_interrupt_ends_the_runs(tmp_path, monkeypatch):
    """What was known is stored; the processes are ended before they are waited for."""
    ended = []
    monkeypatch.setattr(room, "measuring_server", lambda: remembered(ended))
    runs = AtOnce()

    def interrupt(progress):
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, runs, listener=interrupt)
    assert ["server"] == ended
    with ResultsStore(tmp_path) as store:
        assert [8] == [result.cell.batch_size for result in store.results(source="measured")]
