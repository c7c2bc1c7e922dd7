"""The measuring loop, on a GPU that does not exist: what is measured there must equal what is predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_gpu import FakeGpu, FakeWorkload
from handmade import build_trace, make_device

from actprof.allocator import AllocatorConfig
from actprof.cell import Cell
from actprof.measuring.request import Request
from actprof.measuring.training_steps import StepClock, summarise, take_steps
from actprof.replay.replay import ReplayConditions, replay
from actprof.units import MIB


def run(batch_size, *, total=1 << 30, cap=None, alloc_conf="", **options):
    """Return (steps taken, measurement) on a fresh fake GPU."""
    gpu = FakeGpu(total_bytes=total, alloc_conf=alloc_conf)
    request = Request(cell=Cell(batch_size=batch_size), cap_bytes=cap, **{"most_seconds": 0.0, **options})
    gpu.prepare(cap_bytes=cap, cudnn_benchmark=True)
    taken = take_steps(request, gpu, lambda _phase: FakeWorkload(gpu, batch_size))
    return taken, summarise(taken, request, gpu)


@pytest.mark.parametrize("alloc_conf", ["", "expandable_segments:True"])
@pytest.mark.parametrize("batch_size", [2, 7, 64])
def test_measured_peaks_equal_predicted_ones(batch_size, alloc_conf):
    """The last step's peaks, allocated and reserved, are those of the replay, to the byte."""
    _taken, measurement = run(batch_size, alloc_conf=alloc_conf)
    conditions = ReplayConditions(config=AllocatorConfig.parse(alloc_conf))
    predicted = replay(build_trace(), batch_size, conditions)

    last = measurement.step_memory[-1]
    assert predicted.peak_allocated_bytes == last.peak_allocated_bytes
    assert predicted.peak_reserved_bytes == last.peak_reserved_bytes


def test_two_steps_warm_up_and_at_least_five_are_timed():
    """Seconds come from the timed steps only; memory from all."""
    taken, measurement = run(4)

    assert (2, 5) == (measurement.warmup_steps, measurement.steps)
    assert 7 == len(measurement.step_memory)
    assert 5 == len(taken.clock.seconds["forward"][taken.warmup_steps :])
    assert measurement.forward_seconds.low <= measurement.forward_seconds.high


def test_the_clock_tells_the_phases_apart():
    """Forward and backward by their own marks; the optimizer from the end of backward on."""
    _taken, measurement = run(4)

    assert 1.0 == measurement.forward_seconds.median  # two marks in a row
    assert 1.0 == measurement.backward_seconds.median
    assert 3.0 == measurement.optimizer_seconds.median  # optimizer starts, ends, update ends


def test_a_backward_inside_the_forward_is_no_forward():
    """So runs a batch in two halves: forward, backward, forward in one phase, then the second backward."""
    clock = StepClock(FakeGpu())
    for _step in range(2):
        with clock.phase("data"):
            pass
        with clock.phase("update"):
            with clock.phase("forward"), clock.phase("backward"):
                pass
            with clock.phase("backward"):
                pass
            with clock.phase("optimizer"):
                pass
        clock.end_step()

    assert [2.0, 2.0] == clock.seconds["forward"]  # before and after the backward inside
    assert [2.0, 2.0] == clock.seconds["backward"]
    assert [3.0, 3.0] == clock.seconds["optimizer"]
    assert "setup" == clock.phase_name


def test_an_exact_number_of_steps_has_no_warm_up():
    """As the search for a boundary asks for them."""
    _taken, measurement = run(4, steps=10)

    assert (0, 10) == (measurement.warmup_steps, measurement.steps)


def test_no_more_than_the_most_steps_are_timed():
    """A fast step does not run for twenty seconds."""
    _taken, measurement = run(4, most_seconds=1e9, most_steps=9)

    assert 9 == measurement.steps


def test_running_out_is_an_answer():
    """Step, phase, bytes and PyTorch's whole message; the steps before it count."""
    taken, measurement = run(64, total=80 * MIB)
    predicted = replay(build_trace(), 64, ReplayConditions(device=make_device(80 * MIB))).oom

    assert predicted.message == taken.oom.message
    assert predicted.segment_bytes == taken.oom.segment_bytes
    assert (1, "forward") == (taken.oom.step, taken.oom.phase)
    assert 1 == measurement.allocator_ooms
    assert 0 == measurement.steps
    assert taken.spread("update") is None


def test_running_out_while_the_run_is_set_up_is_step_0():
    """There is no policy then."""
    taken, _measurement = run(4, total=1 << 19)

    assert (0, "setup") == (taken.oom.step, taken.oom.phase)


def test_each_step_has_its_own_flushes():
    """They add up to those of the run."""
    gpu = FakeGpu()
    gpu.prepare(cap_bytes=None, cudnn_benchmark=True)

    class Flushing(FakeWorkload):
        def step(self, phase):
            super().step(phase)
            gpu.allocator.num_alloc_retries += self.steps

    request = Request(cell=Cell(batch_size=4), steps=3)
    taken = take_steps(request, gpu, lambda _phase: Flushing(gpu, 4))

    assert [1, 2, 3] == [step.retries for step in taken.memory]
    assert 6 == summarise(taken, request, gpu).allocator_retries


@pytest.mark.parametrize(
    ("words", "refused", "ran_out"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", 0, True),
        ("FIND was unable to find an engine to execute this computation", 2, True),
        ("FIND was unable to find an engine to execute this computation", 0, False),
        ("CUDA error: an illegal memory access was encountered", 2, False),
    ],
)
def test_a_library_without_memory_has_run_out(words, refused, ran_out):
    """The words of cuBLAS and cuDNN for it are known; any other error ends the worker."""
    gpu = FakeGpu()
    gpu.prepare(cap_bytes=None, cudnn_benchmark=True)

    class Failing(FakeWorkload):
        def step(self, phase):
            gpu.ooms = refused
            with phase("data"):
                raise RuntimeError(words)

    def take():
        return take_steps(Request(cell=Cell(batch_size=4)), gpu, lambda _phase: Failing(gpu, 4)).oom

    if ran_out:
        assert (1, words) == (take().step, take().message)
    else:
        with pytest.raises(RuntimeError, match=words):
            take()


def test_a_cap_makes_a_large_card_small():
    """What runs on the whole card runs out under the cap."""
    assert run(64)[0].oom is None
    assert run(64, cap=80 * MIB)[0].oom is not None


def test_a_spike_is_told_from_the_settled_value():
    """The spike is how far the highest step exceeds the last one."""
    taken, measurement = run(4)
    assert 0 == measurement.spike_reserved_bytes

    taken.memory[0] = replace(taken.memory[0], peak_reserved_bytes=taken.memory[-1].peak_reserved_bytes + 5)
    request = Request(cell=Cell(batch_size=4))
    gpu = FakeGpu()
    gpu.prepare(cap_bytes=None, cudnn_benchmark=True)
    assert 5 == summarise(taken, request, gpu).spike_reserved_bytes
