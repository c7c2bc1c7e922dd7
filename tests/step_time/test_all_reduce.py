"""What DDP adds to a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.step_time.all_reduce import NVLINK, PCIE, _buckets, ddp_seconds
from actprof.step_time.play import play
from actprof.step_time.rates import default_rates
from actprof.step_time.step import play_step
from actprof.trace.cache import trace_for


@pytest.fixture(scope="module")
def trace():
    return trace_for(Cell(batch_size=8, overrides={"chunk_size": 50, "n_action_steps": 50}))[0]


@pytest.fixture(scope="module")
def step(trace):
    return play_step(trace, 8, find_gpu("RTX 4090"))


def test_every_gradient_goes_through_a_bucket_once(step, trace):
    """As many bytes as an H100 recorded of ACT's buckets: 51,571,590 parameters, all trained, in float32."""
    buckets = list(_buckets(step, trace, 8))

    assert 206_286_360 == sum(size for _ready, size in buckets)
    assert 9 == len(buckets)
    assert buckets[0][1] < 25 * 2**20
    assert [ready for ready, _size in buckets] == sorted(ready for ready, _size in buckets)


def test_a_fast_link_hides_behind_the_backward_pass(step, trace):
    """All but the last bucket; a slow one does not, and less so on more GPUs."""
    alone = step.played.seconds
    fast, slow = (ddp_seconds(step, trace, 8, gpus=8, link=link) for link in (NVLINK, PCIE))

    assert alone < fast < 1.02 * alone
    assert slow > fast + 5e-3
    assert ddp_seconds(step, trace, 8, gpus=2, link=PCIE) < slow


def test_what_is_not_hidden_is_the_bytes_over_the_bandwidth(step, trace):
    """Of a link so slow that everything queues from the first bucket on."""
    link = replace(PCIE, bandwidth=1e8, latency=0.0)
    buckets = list(_buckets(step, trace, 8))
    through = buckets[0][0] + 2 * 7 / 8 * sum(size for _ready, size in buckets) / 1e8
    backward = max(
        step.played.ended[place] for place, row in enumerate(step.rows) if trace.ops.phase[row] == 3
    )
    assert ddp_seconds(step, trace, 8, gpus=8, link=link) == pytest.approx(
        step.played.seconds + through - backward
    )


def test_of_several_batches_the_last_one_sends(step, trace):
    """What it adds is not hidden behind the backward passes of the others, which send nothing."""
    end = max(place for place, row in enumerate(step.rows) if trace.ops.phase[row] == 3) + 1
    phases = [int(trace.ops.phase[row]) for row in step.rows[:end]]
    no_gradients = {phase: step.rows[phases.index(phase)] for phase in set(phases)}
    rows = (*step.rows[:end], *(no_gradients[phase] for phase in phases), *step.rows[end:])
    launches = (*step.launches[:end], *step.launches)
    played = play(launches, gap=default_rates().gap, wait=step.host.wait, around=step.host.step)
    both = replace(step, rows=rows, launches=launches, played=played)

    one, two = (ddp_seconds(each, trace, 8, gpus=8, link=PCIE) for each in (step, both))
    assert one - step.played.seconds > 5e-3
    assert one - step.played.seconds == pytest.approx(two - played.seconds)


def test_a_step_that_trains_nothing_sends_nothing(step, trace):
    """No tensor of it is a gradient."""
    frozen = replace(trace, tensors=replace(trace.tensors, kind=np.zeros_like(trace.tensors.kind)))
    assert step.played.seconds == ddp_seconds(step, frozen, 8, gpus=8, link=PCIE)
