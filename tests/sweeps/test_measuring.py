"""Measuring a scenario: what is measured, what is kept, and what survives a failure."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from actprof.errors import ActprofError, StoreError, UsageError
from actprof.hardware import LocalGpu, find_gpu
from actprof.results import GpuUse, Result
from actprof.scenario.grid import build_scenario
from actprof.sweeps.measure_cells import measure_cells, plan_measuring
from actprof.sweeps.store import ResultsStore
from actprof.units import GIB, MIB

BIG = LocalGpu(
    index=0, uuid="GPU-1", name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB, used_bytes=0,
    free_bytes=80 * GIB, driver="595.84",
)  # fmt: skip
SMALL = replace(BIG, name="NVIDIA GeForce RTX 3060", total_bytes=12 * GIB, free_bytes=12 * GIB)


@pytest.fixture
def scenario():
    """Two batch sizes on a 3090."""
    return build_scenario({"gpu": "RTX 3090"}, {"batch_size": [16, 8]})


class Runs:
    """Stands for what measures: remembers the cells, fails where it is told to."""

    def __init__(self, fails=(), verdict="fits"):
        self.fails, self.verdict, self.cells, self.choices = fails, verdict, [], []

    def __call__(self, *, choice, **_options):
        self.choices.append(choice)
        return self

    def measure(self, cell):
        self.cells.append(cell.batch_size)
        verdict = "error" if cell.batch_size in self.fails else self.verdict
        gpu = GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=0)
        return Result(source="measured", cell=cell, gpu=gpu, verdict=verdict)


def measure(scenario, folder, runs, *, gpus=(BIG,), later=None, **options):
    """Measure into `folder`; return the batch sizes that were run."""
    plan = plan_measuring(scenario, "measure", gpus=lambda: gpus)
    with ResultsStore(folder) as store, standing_in(runs, gpus if later is None else later):
        measure_cells(plan, store, **options)
    return runs.cells


def standing_in(runs, gpus):
    """Let `runs` measure, and these GPUs be there afterwards."""
    return mock.patch.multiple("actprof.sweeps.measure_cells", Run=runs, usable_gpus=lambda: gpus)


def test_auto_measures_where_a_card_is_large_enough(scenario):
    """A larger card plays the scenario's; a smaller one does not, and it is said why."""
    larger, smaller, none = (
        plan_measuring(scenario, "auto", gpus=lambda found=found: found) for found in ((BIG,), (SMALL,), ())
    )
    cap = find_gpu("RTX 3090").capacity_bytes - find_gpu("RTX 3090").context_bytes
    assert [cap, cap] == [choice.cap_bytes for _cell, choice in larger.choices]
    assert ((), ()) == (smaller.choices, none.choices)
    plays = "the H100 80 GB here (GPU 0) plays the RTX 3090, with 23.24 GiB for PyTorch"
    assert f"measured: {plays}" == larger.reason
    assert smaller.reason.startswith("not measured: the RTX 3060")
    assert "not measured: no NVIDIA GPU here" == none.reason


def test_predict_asks_for_no_gpu(scenario):
    """And touches none."""
    plan = plan_measuring(scenario, "predict", gpus=lambda: 1 / 0)

    assert ((), "not measured: predicted only, as asked") == (plan.choices, plan.reason)


@pytest.mark.parametrize(("mode", "said"), [("measure", "no NVIDIA GPU"), ("both", "auto, predict, measure")])
def test_what_cannot_be_measured_is_refused(scenario, mode, said):
    """With the reason, and what to do instead."""
    with pytest.raises(UsageError, match=said):
        plan_measuring(scenario, mode, gpus=tuple)


def test_the_smallest_batch_is_measured_first_and_nothing_twice(scenario, tmp_path):
    """A second sweep finds everything known."""
    assert [8, 16] == measure(scenario, tmp_path, Runs())
    assert [] == measure(scenario, tmp_path, Runs())
    assert [8, 16] == measure(scenario, tmp_path, Runs(), fresh=True)


def test_another_driver_or_card_is_measured_again(scenario, tmp_path):
    """What was measured on one card says nothing of another."""
    measure(scenario, tmp_path, Runs())
    assert [8, 16] == measure(scenario, tmp_path, Runs(), gpus=(replace(BIG, driver="600.1"),))


def test_a_failed_run_is_a_row_and_is_tried_again(scenario, tmp_path):
    """The sweep goes on; the next one repeats what failed only."""
    assert [8, 16] == measure(scenario, tmp_path, Runs(fails=(8,)))
    with ResultsStore(tmp_path) as store:
        assert {8: "error", 16: "fits"} == {
            r.cell.batch_size: r.verdict for r in store.results(source="measured")
        }
    assert [8] == measure(scenario, tmp_path, Runs())


def test_a_scenario_that_changed_keeps_what_still_counts(scenario, tmp_path):
    """Only the new cells are run, and only the present ones are returned."""
    measure(scenario, tmp_path, Runs())
    changed = build_scenario({"gpu": "RTX 3090"}, {"batch_size": [16, 32]})

    assert [32] == measure(changed, tmp_path, Runs())
    with ResultsStore(tmp_path) as store:
        found = store.results(changed.cells, source="measured")
    assert [16, 32] == [r.cell.batch_size for r in found]


def test_a_gpu_that_vanishes_ends_the_sweep(scenario, tmp_path):
    """What was known is stored."""
    with pytest.raises(ActprofError, match=r"GPU 0 \(NVIDIA H100 80GB HBM3\) has vanished"):
        measure(scenario, tmp_path, Runs(fails=(16,)), later=())
    with ResultsStore(tmp_path) as store:
        assert 2 == len(store.results(source="measured"))


def test_predicted_and_measured_stand_side_by_side(scenario, tmp_path, seed):
    """One cell, two sources, two rows."""
    from actprof.prediction.predict import predict_cell

    cell = seed(batch_size=8)
    with ResultsStore(tmp_path) as store:
        store.put_result(predict_cell(cell), "stamp")
        store.put_result(Runs().measure(cell), "stamp")

        assert ["predicted"] == [r.source for r in store.results([cell])]
        assert ["measured"] == [r.source for r in store.results([cell], source="measured")]


def test_a_full_disk_is_one_error_and_loses_nothing(scenario, tmp_path):
    """SQLite says that it is full; what was stored before is there."""
    many = build_scenario({"gpu": "RTX 3090"}, {"batch_size": list(range(1, 200))})
    plan = plan_measuring(many, "measure", gpus=lambda: (BIG,))
    with ResultsStore(tmp_path) as store:
        store._connection.execute("PRAGMA max_page_count = 20")
        with standing_in(Runs(), (BIG,)), pytest.raises(StoreError, match="full"):
            measure_cells(plan, store)
    with ResultsStore(tmp_path) as store:
        kept = len(store.results(source="measured"))
    assert 0 < kept < 199
    assert [*range(kept + 1, 200)] == measure(many, tmp_path, Runs())


def test_a_store_of_predictions_only_is_made_anew(tmp_path):
    """Its table had no source; what it held is predicted again."""
    with sqlite3.connect(tmp_path / "results.sqlite") as old:
        old.execute(
            "CREATE TABLE results (cell TEXT PRIMARY KEY, fingerprint TEXT, verdict TEXT, result TEXT)"
        )
        old.execute("INSERT INTO results VALUES ('{}', 'stamp', 'fits', '{}')")
    with ResultsStore(tmp_path) as store:
        assert () == store.results()


@pytest.mark.parametrize("used", [0, 2 * GIB + 300 * MIB])
def test_what_others_hold_comes_out_of_the_cap(used):
    """As on the card that is played."""
    scenario = build_scenario({"gpu": "RTX 3090", "used_by_others": used}, {"batch_size": [8]})
    ((_cell, choice),) = plan_measuring(scenario, "auto", gpus=lambda: (BIG,)).choices
    card = find_gpu("RTX 3090")
    assert card.capacity_bytes - card.context_bytes - used == choice.cap_bytes


def test_a_killed_sweep_goes_on_where_it_was(scenario, tmp_path):
    """`kill -9` of the parent while the second cell runs: the first is known, and is not run again."""
    script = f"""
    import sys, time
    sys.path[:0] = [{str(Path(__file__).parent)!r}]
    from test_measuring import Runs, BIG, measure
    from actprof.scenario.grid import build_scenario

    class Slow(Runs):
        def measure(self, cell):
            if self.cells:
                print("second", flush=True)
                time.sleep(99)
            return super().measure(cell)

    from pathlib import Path
    scenario = build_scenario({{"gpu": "RTX 3090"}}, {{"batch_size": [16, 8]}})
    measure(scenario, Path({str(tmp_path)!r}), Slow())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert b"second\n" == process.stdout.readline()
        process.kill()

    assert [16] == measure(scenario, tmp_path, Runs())
    with ResultsStore(tmp_path) as store:
        assert {8, 16} == {result.cell.batch_size for result in store.results(source="measured")}
