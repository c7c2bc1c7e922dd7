"""Predicted step times: the roofline of each op, and the queue between host and device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actprof.hardware import find_gpu
from actprof.hardware.efficiency import DEFAULT_EFFICIENCY, Efficiency
from actprof.prediction.step_time import _play, predict_step_time, update_rows

GPU = find_gpu("RTX 3090")


def play(host, device, sync=None, sync_seconds=0.0):
    waits = np.array(sync or [False] * len(host))
    return _play(np.array(host, dtype=float), np.array(device, dtype=float), waits, sync_seconds)


def test_a_slow_host_leaves_the_device_idle():
    """Each kernel waits for its launch: the step is the host's time and the last kernel."""
    total, idle = play([1, 1, 1], [0.25, 0.25, 0.25])
    assert (3.25, 2.5) == (total, idle)


def test_a_slow_device_hides_the_host():
    """The host runs ahead; the device idles only until the first launch."""
    assert (31.0, 1.0) == play([1, 1, 1], [10, 10, 10])


def test_a_wait_drains_the_queue():
    """What is launched after it comes too late for the device."""
    total, idle = play([1, 1, 1], [10, 0, 10], sync=[False, True, False], sync_seconds=0.5)
    assert (22.5, 2.5) == (total, idle)


def test_the_shares_are_of_the_step_and_add_up(make_trace):
    """Idle, arithmetic and bandwidth are all that the device does; they leave nothing over."""
    found = predict_step_time(make_trace(), 8, GPU)

    assert 1.0 == pytest.approx(sum(found.work.shares.values()))
    assert found.limited_by == max(found.work.shares, key=found.work.shares.get)
    assert found.seconds.low < found.seconds.median < found.seconds.high


def with_work(trace, *, flops=0, moved=0):
    """Return the trace with so much work for each op and sample."""
    count = len(trace.ops.names)
    ops = replace(
        trace.ops,
        flops_per_sample=np.full(count, flops, dtype=np.int64),
        bytes_per_sample=np.full(count, moved, dtype=np.int64),
    )
    return replace(trace, ops=ops)


@pytest.mark.parametrize(
    ("work", "limit"),
    [({"flops": 10**12}, "arithmetic"), ({"moved": 10**11}, "bandwidth"), ({}, "launches")],
)
def test_what_an_op_does_most_of_limits_it(make_trace, work, limit):
    """Arithmetic, traffic, or nothing but launches."""
    assert limit == predict_step_time(with_work(make_trace(), **work), 8, GPU).limited_by


def test_seconds_follow_the_roofline(make_trace):
    """A step of arithmetic takes FLOPs / (share of the peak), of traffic bytes / (share of the bandwidth)."""
    rows = len(update_rows(make_trace()))
    arithmetic = predict_step_time(with_work(make_trace(), flops=10**12), 8, GPU)
    traffic = predict_step_time(with_work(make_trace(), moved=10**11), 8, GPU)

    expected = rows * 8e12 / (DEFAULT_EFFICIENCY.product * GPU.tf32_flops)
    assert expected == pytest.approx(arithmetic.work.device_seconds, rel=1e-6)
    expected = rows * 8e11 / (DEFAULT_EFFICIENCY.bandwidth * GPU.memory_bandwidth_bytes_per_s)
    assert expected == pytest.approx(traffic.work.device_seconds, rel=1e-6)


@pytest.mark.parametrize("kernels", [0, 1, 3])
def test_an_op_of_several_kernels_takes_the_device_so_much_longer(make_trace, kernels):
    """Each takes no less than the least of a kernel; an op without one takes nothing."""
    trace = make_trace()
    rows = len(update_rows(trace))
    ops = replace(trace.ops, kernels=np.full(len(trace.ops.names), kernels, dtype=np.int64))
    found = predict_step_time(replace(trace, ops=ops), 8, GPU)

    assert kernels * rows == found.kernel_launches
    expected = kernels * rows * DEFAULT_EFFICIENCY.kernel_seconds
    assert expected == pytest.approx(found.work.device_seconds)
    assert kernels * rows == sum(cost.launches for cost in found.work.costliest)


def test_a_larger_batch_never_takes_less(make_trace):
    """And samples per second do not fall."""
    trace = with_work(make_trace(), flops=10**9, moved=10**6)
    times = [predict_step_time(trace, size, GPU).seconds.median for size in (2, 4, 8, 64, 512)]

    assert sorted(times) == times
    rates = [size / seconds for size, seconds in zip((2, 4, 8, 64, 512), times, strict=True)]
    assert sorted(rates) == rates


def test_a_gpu_of_unknown_speed_has_no_step_time(make_trace):
    """A user's own entry may leave the bandwidth out."""
    assert predict_step_time(make_trace(), 8, replace(GPU, memory_bandwidth_bytes_per_s=None)) is None


def test_every_figure_has_a_source():
    """An estimate says that it is one."""
    fields = set(Efficiency.__dataclass_fields__) - {"sources"}
    assert fields == set(DEFAULT_EFFICIENCY.sources)
