"""What is told of a predicted step: its seconds, what limits it, and where they go."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from actprof.cell import Cell
from actprof.hardware import find_gpu
from actprof.results import Result, StepWork
from actprof.step_time.calibration import Calibration
from actprof.step_time.host import default_host
from actprof.step_time.predict import predict_step_time
from actprof.step_time.step import play_step, update_rows
from actprof.step_time.variants import COMPILED, FASTER_HOST, GRAPHS
from actprof.trace.cache import trace_for

GPU = find_gpu("RTX 3090")


@pytest.fixture(scope="module")
def trace():
    return trace_for(Cell(batch_size=8))[0]


@pytest.fixture(scope="module")
def step(trace):
    return play_step(trace, 8, GPU)


@pytest.fixture(scope="module")
def found(trace):
    return predict_step_time(trace, 8, GPU)


def test_the_shares_are_of_the_step_and_add_up(found):
    """Idle, arithmetic and bandwidth leave nothing over."""
    assert 1.0 == pytest.approx(sum(found.work.shares.values()))
    assert found.seconds.low < found.seconds.median < found.seconds.high


def test_where_the_time_goes_adds_up_to_the_devices(found):
    """By kind of kernel, by component, by phase; every kernel has a kind."""
    work = found.work

    assert work.device_seconds == pytest.approx(sum(cost.seconds for cost in work.kinds))
    assert work.device_seconds == pytest.approx(sum(work.components.values()))
    assert work.device_seconds == pytest.approx(sum(device for _host, device in work.phases.values()))
    assert found.kernel_launches == sum(cost.kernels for cost in work.kinds)
    assert {"backbone", "encoder", "decoder", "optimizer"} <= work.components.keys()
    assert ["forward", "backward", "optimizer"] == list(work.phases)


def test_the_work_survives_json(found):
    """As part of a result, tuples and all."""
    from actprof.records import from_plain, to_plain

    assert found.work == from_plain(StepWork, to_plain(found.work))


def test_a_larger_batch_never_takes_less(trace):
    """And samples per second do not fall by more than what a wave of tiles costs."""
    sizes = (2, 4, 8, 16, 32)
    times = [predict_step_time(trace, size, GPU).seconds.median for size in sizes]

    assert sorted(times) == times
    rates = [size / seconds for size, seconds in zip(sizes, times, strict=True)]
    assert all(later > 0.98 * former for former, later in pairwise(rates))


def test_what_takes_longer_limits_the_step(trace):
    """A fast GPU waits for the host, a slow one does not."""
    assert "launches" == predict_step_time(trace, 8, find_gpu("H100 80 GB")).limited_by
    assert predict_step_time(trace, 8, find_gpu("T4")).limited_by in {"arithmetic", "bandwidth"}


def test_other_ways_to_launch_bring_what_the_host_costs(trace):
    """Where the host holds the step up: a graph leaves the device's time, a faster host lies between."""
    found = predict_step_time(trace, 8, find_gpu("H100 80 GB"))
    variants = found.work.variants
    graph, faster = variants[GRAPHS][0], variants[FASTER_HOST][0]

    assert found.work.device_seconds < graph <= faster < found.seconds.median
    low, high = variants[COMPILED]
    assert low < high < found.seconds.median


def test_a_faster_host_brings_nothing_where_the_gpu_is_busy(trace):
    """Less than a hundredth or two."""
    found = predict_step_time(trace, 32, GPU)
    assert found.work.variants[FASTER_HOST][0] > 0.97 * found.seconds.median


def test_a_calibration_takes_the_place_of_what_stands_for_any_machine(trace, step):
    """Its host launches, and its factors stretch the kernels of their group."""
    host = default_host().faster(2.0)
    found = play_step(trace, 8, GPU, calibration=Calibration(host=host, factors={"products": 2.0}))

    assert found.host == host
    assert found.played.device_seconds > step.played.device_seconds
    assert found.played.host_seconds == pytest.approx(step.played.host_seconds / 2, rel=1e-6)
    said = predict_step_time(trace, 8, GPU, calibration=Calibration(host=host, factors={"products": 2.0}))
    assert any("calibration" in text for text in said.assumptions)


def test_a_gpu_of_unknown_speed_has_no_step_time(trace):
    """A user's own entry may leave the bandwidth out."""
    assert predict_step_time(trace, 8, replace(GPU, memory_bandwidth_bytes_per_s=None)) is None


def test_half_precision_is_faster_where_there_are_tensor_cores():
    """The products of the same step at the rate of bf16."""
    gpu = find_gpu("A100 40 GB")
    full, half = (
        predict_step_time(trace_for(cell)[0], 64, gpu).work.device_seconds
        for cell in (Cell(batch_size=64), Cell(batch_size=64, precision="bf16"))
    )
    assert half < 0.95 * full


def test_an_op_of_which_no_call_is_known_is_one_kernel(make_trace):
    """A hand-made trace says nothing of what its ops were called with."""
    trace = make_trace()
    assert predict_step_time(trace, 8, GPU).kernel_launches == len(update_rows(trace))


def test_a_result_carries_the_work():
    """As `predict` gives it."""
    import actprof

    result = actprof.predict(batch_size=8, gpu="RTX 3090")
    assert result.work.host == default_host().name
    assert Result.from_json(result.to_json()).work == result.work
