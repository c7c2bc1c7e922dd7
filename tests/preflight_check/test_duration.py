"""How long a run takes, how often it sees the dataset, what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.hardware.jobs import job_dollars
from actprof.measurement import Spread
from actprof.preflight_check.duration import run_duration
from actprof.preflight_check.training_run import TrainingRun
from actprof.results import GpuUse, Result, StepWork
from actprof.training_command.command_line import Given

RESULT = Result(
    source="predicted", cell=Cell(batch_size=32), gpu=GpuUse(name="it", capacity_bytes=1, context_bytes=0),
    step_seconds=Spread(low=0.5, median=1.0, high=2.0), limited_by="arithmetic",
)  # fmt: skip


def duration(workers=4, processes=1, frames=0, **given):
    run = TrainingRun(
        policy_type="act", repo_id="me/it", batch_size=32, steps=3600, save_freq=1, num_workers=workers
    )
    result = replace(RESULT, cell=replace(RESULT.cell, world_size=processes))
    return run_duration(run, result, Given(**given), frames=frames)


def test_hours_are_steps_by_seconds():
    """With the band of the step; loading is left out, and said to be."""
    found = duration()
    assert (0.5, 1.0, 2.0) == (found.hours_low, found.hours, found.hours_high)
    assert 32 == found.samples_per_second
    assert (None, None) == (found.data_wait_seconds, found.data_share)


@pytest.mark.parametrize(
    ("workers", "load", "hours", "wait", "limit"),
    [(4, 0.4, 1.0, 0.0, "arithmetic"), (4, 1.5, 1.5, 0.5, "data"), (0, 0.4, 1.4, 0.4, "arithmetic")],
)
def test_loading_is_hidden_by_workers_only(workers, load, hours, wait, limit):
    """Workers load while the step computes; without them the seconds add up."""
    found = duration(workers, load_seconds=load)
    assert (hours, wait, limit) == (pytest.approx(found.hours), found.data_wait_seconds, found.limited_by)
    assert wait / hours == pytest.approx(found.data_share)


def test_the_largest_share_is_the_limit():
    """Without workers a load that is shorter than the step can still take more than any part of it."""
    shares = {"launches": 0.2, "arithmetic": 0.4, "bandwidth": 0.4}
    work = StepWork(device_seconds=0.8, host_seconds=0.3, busy_share=0.8, bytes_per_sample=1, shares=shares)
    mixed = replace(RESULT, work=work, limited_by="bandwidth")
    run = TrainingRun(policy_type="act", repo_id="me/it", batch_size=32, steps=10, save_freq=1, num_workers=0)

    found = [run_duration(run, mixed, Given(load_seconds=load)).limited_by for load in (0.1, 0.5)]
    assert ["bandwidth", "data"] == found
    held_up = replace(mixed, limited_by="launches")  # the host is at work throughout
    assert "launches" == run_duration(run, held_up, Given(load_seconds=0.5)).limited_by


def test_epochs_count_every_process():
    """Each has a batch of its own; without frames nobody knows."""
    assert 2 * 3600 * 32 / 22458 == pytest.approx(duration(processes=2, frames=22458).epochs)
    assert duration().epochs is None


def test_the_price_is_of_the_hours():
    """And names its source."""
    found = duration(price_per_hour=1.5)
    assert (1.5, "as given") == (found.cost_usd, found.price.source)
    assert job_dollars("a10g-large") == 1.5
    assert job_dollars("unheard-of") is None
