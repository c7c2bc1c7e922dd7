"""What repeated runs may do, where cuDNN chooses between hand-made plans."""

from __future__ import annotations

from dataclasses import replace

import pytest
from convolving import ARCHITECTURE, with_convolution, with_plans
from handmade import make_device

from actprof.cell import Cell
from actprof.cudnn import Plan
from actprof.prediction.largest_batch import largest_batch, surely_largest
from actprof.prediction.plan_band import memory_band, surely_runs
from actprof.replay.kernel_bytes import Kernels
from actprof.replay.replay import ReplayConditions, replay
from actprof.units import MIB

BY_TIME, BY_PLACE = (
    ReplayConditions(kernels=Kernels(architecture=ARCHITECTURE, benchmark=benchmark))
    for benchmark in (True, False)
)
SMALL_OR_LARGE = (Plan(1, 0, deterministic=True), Plan(2, 300 * MIB, deterministic=True))
CELL = Cell(gpu="RTX 3090", batch_size=4)


@pytest.fixture
def trace(make_trace, monkeypatch):
    """A policy with one convolution, whose first plan takes nothing and whose second 300 MiB."""
    with_plans(monkeypatch, SMALL_OR_LARGE)
    return with_convolution(make_trace())


def held(conditions, mib):
    """Return the conditions on a device with so much memory."""
    return replace(conditions, device=make_device(mib * MIB))


def test_the_band_holds_every_choice_of_plans(trace):
    """From the plan without workspace to the one of 300 MiB, and a segment further in what is reserved."""
    likely = replay(trace, 4, BY_TIME)
    band = memory_band(trace, BY_TIME, likely)

    assert likely.peak_allocated_bytes == band.allocated[0]
    assert 290 * MIB < band.allocated[1] - band.allocated[0] <= 300 * MIB
    assert likely.peak_reserved_bytes - 20 * MIB == band.reserved[0]
    assert band.most_reserved_bytes + 20 * MIB == band.reserved[1]


def test_without_a_choice_there_is_one_figure(trace):
    """A deterministic run takes the same plans each time."""
    likely = replay(trace, 4, BY_PLACE)
    band = memory_band(trace, BY_PLACE, likely)

    assert (likely.peak_allocated_bytes,) * 2 == band.allocated
    assert (likely.peak_reserved_bytes,) * 2 == band.reserved
    assert likely.most_reserved_bytes == band.most_reserved_bytes


def test_the_band_is_the_same_each_time(trace):
    """Plans are drawn from the problem itself, not from a clock."""
    likely = replay(trace, 4, BY_TIME)

    assert memory_band(trace, BY_TIME, likely) == memory_band(trace, BY_TIME, likely)


def test_what_surely_runs_has_room_for_every_plan(make_trace, monkeypatch):
    """A plan that finds no room gives way to the next; where all need 300 MiB, nothing saves the run."""
    with_plans(monkeypatch, SMALL_OR_LARGE[1:])
    trace = with_convolution(make_trace())

    assert surely_runs(trace, 4, held(BY_TIME, 400))
    assert not surely_runs(trace, 4, held(BY_TIME, 200))


@pytest.mark.parametrize("conditions", [BY_TIME, BY_PLACE], ids=["by time", "by place"])
def test_sure_is_no_more_than_likely(trace, conditions):
    """And one more than likely does not run."""
    room = held(conditions, 400)
    likely = largest_batch(CELL, trace, room)
    sure = surely_largest(CELL, trace, room, at_most=likely)

    assert 0 < sure <= likely
    assert surely_runs(trace, sure, room)
    assert replay(trace, likely + 1, room).oom is not None


def test_nothing_is_sure_where_nothing_is_known(trace):
    """Without a largest batch size there is no sure one; a trace of one batch size tells of that only."""
    fixed = replace(trace, fixed_batch_size=4)

    assert surely_largest(CELL, trace, held(BY_TIME, 400), at_most=None) is None
    assert 4 == surely_largest(CELL, fixed, held(BY_TIME, 400), at_most=4)


@pytest.mark.parametrize("most", [2, 3, 4, 5])
def test_small_boundaries_are_found_too(make_trace, most):
    """A single sample has a trace of its own; that it is not replayed does not count against two."""
    trace = make_trace(activation=100 * MIB, temporary=0)
    conditions = ReplayConditions(device=make_device((most * 100 + 90) * MIB))

    assert most == largest_batch(CELL, trace, conditions)
