"""Calibrating, on a GPU that does not exist: its times are those predicted, changed by known factors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from actprof.hardware import builtin_catalogue, find_gpu
from actprof.measurement import DeviceFacts
from actprof.measuring import calibrate_worker
from actprof.measuring.calibrate import DISPATCH_SECONDS, Timed, calibrate, factors_of
from actprof.measuring.calibrate_probes import PROBES, Probe, half_of, play_probe
from actprof.measuring.calibrate_worker import time_probes
from actprof.measuring.nvml import usable_gpus
from actprof.measuring.small_step import PASSES, play_small_step
from actprof.step_time.calibration import CONV, GROUPS, MEMORY, STRIDES, SUMS, group_of
from actprof.step_time.host import default_host
from actprof.step_time.kernel import ELEMENTWISE, SOFTMAX, Kernel
from actprof.step_time.kernel_time import KernelTime
from actprof.step_time.rates import default_rates
from actprof.units import GIB

TRUE = dict(zip(GROUPS, (1.3, 0.8, 1.1, 2.0, 0.5, 1.6), strict=True))
H100 = find_gpu("H100")
FEW = tuple(probe for probe in PROBES if probe.name in {"copy", "addition", "softmax", "layer norm"})


small_step = cache(play_small_step)


class FakeTimer:
    """A GPU whose kernels take what is predicted of an H100, times a factor for each group."""

    def __init__(self, factors, *, slower=1.0, without=()):
        self.factors, self.slower, self.without = factors, slower, without

    def facts(self):
        return DeviceFacts(type="cuda", name="NVIDIA H100 80GB HBM3", driver="1.0", cuda="13.0", cudnn="9")

    def seconds_of(self, probe):
        if probe.name in self.without:
            raise RuntimeError(self.without[probe.name])
        step = play_probe(probe, H100)
        seconds = len(step.kernels) * default_rates().gap
        for kernel, time in zip(step.kernels, step.times, strict=True):
            factor = self.factors[group_of(kernel)]
            seconds += time.least + max(time.arithmetic, time.traffic) * factor
        return seconds

    def launching(self):
        launches = small_step(H100).launches
        each = self.slower * sum(launch.host for launch in launches) / len(PASSES)
        return dict.fromkeys(PASSES, each)

    def is_out_of_memory(self, error):
        return "out of memory" in str(error)


@pytest.fixture
def one_thread():
    """What is measured on the CPU takes one thread; the other tests take what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def here(one_thread, monkeypatch):
    """Return a function that calibrates in this process, and what was asked for."""
    asked = []
    monkeypatch.setattr(calibrate_worker, "play_small_step", small_step)

    def calibrated(gpus=(), timer=None, *, probes=(), **options):
        def call(conditions, function, *args):
            asked.append((conditions.environment, args))
            return function(*args) if timer is None else time_probes(args[0], timer, probes)

        return calibrate(gpus, call=call, **options), asked

    return calibrated


@pytest.fixture
def card():
    """The GPU of this machine, as NVML would describe it."""
    from stand_ins import CARD

    return CARD


def test_the_factors_are_those_of_the_gpu(here, card):
    """However the kernels of one piece mix, with least times and gaps that no factor changes."""
    found, _asked = here([card], FakeTimer(TRUE), probes=PROBES)

    assert {group: pytest.approx(factor, rel=1e-6) for group, factor in TRUE.items()} == found.factors
    assert "H100 80 GB" == found.gpu
    assert [probe.name for probe in PROBES] == [probe.name for probe in found.probes]
    assert {"driver": "1.0", "cuda": "13.0"}.items() <= found.versions.items()
    assert () == found.notes


@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
def test_the_host_is_as_much_slower_as_the_small_step(here, card, slower):
    """In all that it does; what a launch costs the default host is what the small step was to take."""
    host, default = here([card], FakeTimer(TRUE, slower=slower))[0].host, default_host()

    assert pytest.approx(slower * default.forward) == host.forward
    assert pytest.approx(slower * default.backward) == host.backward
    assert pytest.approx(slower * default.tensor) == host.tensor
    assert host.name.endswith("(calibrated)")


def test_what_a_gpu_cannot_do_is_left_out_and_said(here, card):
    """For memory, or for another reason; the others give the factor."""
    without = {"copy": "CUDA out of memory. Tried", "softmax": "no such kernel\nmore"}
    found, _asked = here([card], FakeTimer(TRUE, without=without), probes=FEW)

    assert pytest.approx(TRUE[MEMORY]) == found.factors[MEMORY]
    assert pytest.approx(TRUE[SUMS]) == found.factors[SUMS]
    assert (
        "copy was left out: not enough free memory", "softmax was left out: no such kernel",
    ) == found.notes  # fmt: skip


def test_a_gpu_that_others_use_is_said(here, card):
    """What works there meanwhile makes times longer."""
    used = replace(card, used_bytes=9 * GIB, free_bytes=71 * GIB)

    (note,) = here([used], FakeTimer(TRUE))[0].notes
    assert note.startswith("9.00 GiB of the GPU were in use")


def test_of_a_gpu_that_nobody_knows_only_the_host_is_measured(here, card):
    """Nothing can be predicted of it without its bandwidth."""
    found, _asked = here([replace(card, name="NVIDIA Lab 1")], FakeTimer(TRUE), probes=FEW)

    assert ("Lab 1", {}, ()) == (found.gpu, found.factors, found.probes)
    assert found.notes[0].startswith("nobody knows the Lab 1's bandwidth")
    assert found.host is not None


def test_without_a_gpu_it_is_the_host_alone(here):
    """The small step on the CPU says how fast it is; CUDA sees nothing in that process."""
    found, asked = here([])
    taken = found.dispatching["forward"] + found.dispatching["backward"]

    assert [({"CUDA_VISIBLE_DEVICES": ""}, ())] == asked
    assert ("", {}, (), {}) == (found.gpu, found.factors, found.probes, found.launching)
    assert set(PASSES) == set(found.dispatching)
    assert pytest.approx(default_host().forward * taken / DISPATCH_SECONDS) == found.host.forward
    assert found.host.source.startswith("estimate")


def test_the_process_sees_the_chosen_gpu_alone(here, card):
    """By its UUID; the worker is told what NVML says of it."""
    _found, asked = here([card], FakeTimer(TRUE), device="cuda")
    ((environment, (gpu, index, driver)),) = asked

    assert {"CUDA_VISIBLE_DEVICES": "GPU-1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} == environment
    assert ("H100 80 GB", 3, "595.84") == (gpu.name, index, driver)


def test_a_piece_that_was_disturbed_does_not_count():
    """Twenty times too long is no property of a GPU; a group without a sound piece has no factor."""
    kernel, time = Kernel(ELEMENTWISE, 1.0), KernelTime(0.0, 0.0, 1.0)
    pieces = [Timed("x", MEMORY, seconds, [kernel], [time], 0.0) for seconds in (1.1, 1.2, 20.0)]

    assert {MEMORY: pytest.approx(1.15)} == factors_of(pieces)
    assert {} == factors_of(pieces[2:])


def test_kernels_of_other_groups_take_their_own_factor():
    """A softmax's backward is half an elementwise product: that half is as slow as memory was."""
    product, softmax = Kernel(ELEMENTWISE, 1.0), Kernel(SOFTMAX, 1.0)
    one = KernelTime(0.0, 0.0, 1.0)
    pieces = [
        Timed("copy", MEMORY, 1.5, [product], [one], 0.0),
        Timed("backward of softmax", SUMS, 3.5, [product, softmax], [one, one], 0.0),
    ]

    assert {MEMORY: 1.5, SUMS: 2.0} == factors_of(pieces)


@pytest.mark.parametrize("gpu", ["H100", "RTX 3060", "T4"])
def test_every_piece_is_about_its_group(gpu):
    """Its own kernels are at least two fifths of it, on new cards and old ones."""
    card = builtin_catalogue().find(gpu)
    for probe in PROBES:
        step = play_probe(probe, card)
        own = sum(
            time.seconds
            for kernel, time in zip(step.kernels, step.times, strict=True)
            if group_of(kernel) == probe.group
        )
        assert own > 0.4 * sum(time.seconds for time in step.times), probe.name


def test_every_group_has_pieces_in_the_order_of_the_groups():
    """A group's factor needs those before it."""
    places = [GROUPS.index(probe.group) for probe in PROBES]

    assert sorted(places) == places
    assert set(range(len(GROUPS))) == set(places)
    assert {STRIDES, CONV} <= {probe.group for probe in PROBES}


def test_old_cards_multiply_halves_of_another_kind():
    """bf16 came with compute capability 8.0."""
    assert (torch.float16, torch.bfloat16) == (half_of((7, 5)), half_of((8, 0)))


def test_the_small_step_launches_as_act_does():
    """For each op about as many kernels as ACT, forward and backward together, on an H100: 1.4."""
    step = small_step(H100)

    assert pytest.approx(1.38, rel=0.1) == len(step.kernels) / len(set(step.rows))


def test_work_waits_in_the_queue_and_is_timed_for_half_a_second(monkeypatch):
    """The GPU sleeps while the host queues a round of calls, as many as make a tenth of a second."""
    slept, caps, calls, marks = [], [], [], []

    class Timer(calibrate_worker.CudaTimer):
        def prepare(self, *, cap_bytes, cudnn_benchmark):
            caps.append((cap_bytes, cudnn_benchmark))

        def facts(self):
            return DeviceFacts(type="cuda", name="Fake", compute_capability=(8, 6))

        def mark(self):
            marks.append(len(slept))
            return len(calls)

        def seconds_between(self, start, end):
            return (end - start) * 0.002

        def synchronize(self):
            """Nothing is queued."""

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "_sleep", slept.append)
    seconds = Timer(index=0, driver="1.0").seconds_of(
        Probe("x", MEMORY, lambda _new: lambda: calls.append(0))
    )

    assert pytest.approx(0.002) == seconds
    assert [(9 * GIB, True)] == caps
    assert 3 + 3 + 5 * 50 == len(calls)
    assert [1, 1, 2, 2] == marks[:4]
    assert slept[2] > slept[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_gpu_is_calibrated():
    """Every group has a factor, and none is far from one."""
    found = calibrate(usable_gpus())

    assert set(GROUPS) == set(found.factors)
    assert all(0.4 < factor < 2.5 for factor in found.factors.values()), found.factors
    assert 0 < found.dispatching["forward"] < found.launching["forward"] < 0.1
