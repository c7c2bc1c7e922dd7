"""Replays of hand-made traces: peaks, retries, running out, workspaces, detail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from convolving import ARCHITECTURE, PLANS, with_convolution, with_plans
from handmade import make_device

from actprof.allocator import AllocatorConfig
from actprof.allocator.caching import CachingAllocator
from actprof.cudnn import Plan
from actprof.hardware import Workspaces
from actprof.replay.kernel_bytes import MOST, Kernels
from actprof.replay.program import WORKSPACE_KIND, build_program
from actprof.replay.replay import ReplayConditions, replay
from actprof.units import MIB

ENDLESS = ReplayConditions()


def test_the_peak_counts_what_is_alive_at_once(make_trace):
    """Weights, inputs, activation and temporary of a batch of 4 are alive together."""
    trace = make_trace()

    profile = replay(trace, 4, ENDLESS)

    assert 1 * MIB + 4 * 4096 + 4 * MIB + 2 * MIB == profile.peak_requested_bytes
    assert profile.oom is None
    assert 0 == profile.retries


def test_the_peak_leaves_out_what_happened_before_the_update(make_trace):
    """Two inputs are alive while a batch arrives, but that is before `update_policy` resets the peak."""
    trace = make_trace(weights=512, activation=512, temporary=512)

    profile = replay(trace, 1000, ENDLESS)

    assert 512 + 1000 * (4096 + 1024) == profile.peak_requested_bytes


def test_steps_are_replayed_until_the_segments_settle(make_trace):
    """Step 2 is repeated once to see that it changes nothing."""
    assert 3 == replay(make_trace(), 4, ENDLESS).steps


def test_a_trace_that_cannot_be_repeated_is_replayed_as_it_is(make_trace):
    """Without carried tensors the two traced steps are all there is."""
    trace = replace(make_trace(), carried=None)

    assert 2 == replay(trace, 4, ENDLESS).steps


def test_each_thread_that_multiplies_takes_one_cublas_workspace(make_trace):
    """Two steps with a product in the forward and one in the backward pass make two workspaces."""
    trace = make_trace()
    program = build_program(trace, 4, Workspaces(cublas_bytes=8 * MIB))

    assert [8 * MIB, 8 * MIB] == program.sizes[len(trace.tensors.op) :]


def test_a_workspace_comes_after_the_result_of_the_product_that_asks_for_it(make_trace):
    """The forward product's result is tensor 2; the workspace is allocated right behind it."""
    trace = make_trace()
    program = build_program(trace, 4, Workspaces(cublas_bytes=8 * MIB))
    workspace = len(trace.tensors.op) + 1

    assert 3 == program.events[program.events.index(workspace) - 1]


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [("handle", (8, MIB, 8, MIB)), ("call", (8, MIB, 8, MIB, MIB, MIB)), ("shared", (8, 8))],
)
def test_cublaslt_takes_its_workspace_per_handle_or_per_call(make_trace, lifetime, expected):
    """Kept: one per thread. Per call: one for each of the four fused products. Shared: none."""
    size = 0 if lifetime == "shared" else MIB
    spaces = Workspaces(cublas_bytes=8, cublaslt_bytes=size, cublaslt_lifetime=lifetime)

    trace = make_trace(blas=2)
    assert expected == tuple(build_program(trace, 4, spaces).sizes[len(trace.tensors.op) :])


def test_positions_move_with_what_is_put_in(make_trace):
    """Steps and phases begin at the same events with and without workspaces."""
    trace = make_trace()
    program = build_program(trace, 4, Workspaces(cublas_bytes=8))
    plain = build_program(trace, 4, Workspaces())

    def beginnings(p):
        return [p.events[i] for i in (*p.step_starts, *p.update_starts)]

    assert beginnings(plain) == beginnings(program)
    assert [phase for _, phase in plain.phase_starts] == [phase for _, phase in program.phase_starts]


def test_running_out_names_step_phase_module_and_op(make_trace):
    """On a device of 12 MiB the activation of a batch of 16 finds no memory in the first forward pass."""
    device = make_device(12 * MIB, context_bytes=1 * MIB)

    oom = replay(make_trace(), 16, ReplayConditions(device=device)).oom

    assert (1, "forward", "model.encoder", "aten.mm.default") == (oom.step, oom.phase, oom.module, oom.op)
    assert 16 * MIB == oom.requested_bytes == oom.segment_bytes
    assert oom.message.startswith("CUDA out of memory. Tried to allocate 16.00 MiB. GPU 0 has a total")


def test_the_context_and_others_shrink_the_device(make_trace):
    """What fits 40 MiB exactly does not fit when others hold half of it."""
    trace = make_trace()
    roomy = ReplayConditions(device=make_device(40 * MIB))
    shared = ReplayConditions(device=make_device(40 * MIB, used_by_others_bytes=20 * MIB))

    assert replay(trace, 8, roomy).oom is None
    assert replay(trace, 8, shared).oom is not None


def test_peaks_never_fall_as_the_batch_grows(make_trace):
    """Allocated and reserved peaks rise with the batch size, native and expandable."""
    trace = make_trace()
    for text in ("", "expandable_segments:True"):
        config = AllocatorConfig.parse(text)
        profiles = [replay(trace, size, ReplayConditions(config=config)) for size in range(2, 40, 3)]
        allocated = [p.peak_allocated_bytes for p in profiles]
        assert sorted(allocated) == allocated


def test_detail_changes_no_number(make_trace):
    """A replay with a timeline finds the same peaks as one without."""
    trace = make_trace()
    plain = replay(trace, 4, ENDLESS)
    detailed = replay(trace, 4, ENDLESS, detail=True)

    assert plain.peak_allocated_bytes == detailed.peak_allocated_bytes
    assert plain.peak_reserved_bytes == detailed.peak_reserved_bytes
    assert plain.peak_allocated_bytes == int(
        np.max(detailed.timeline.allocated[detailed.timeline.step_starts[-1] :])
    )


def test_who_is_alive_at_the_peak_adds_up_to_it(make_trace):
    """The requested bytes of the tensors alive at the peak are the requested peak."""
    trace = make_trace()
    profile = replay(trace, 4, ENDLESS, detail=True)

    assert profile.peak_requested_bytes == trace.tensors.requested_bytes(4)[profile.alive_at_peak].sum()


def test_a_batch_size_for_which_the_trace_does_not_hold_is_refused(make_trace):
    """Batch size one needs a trace of its own."""
    with pytest.raises(ValueError, match="batch size 1"):
        replay(make_trace(), 1, ENDLESS)


# -- what kernels take inside --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "draw", "expected"), [(False, 0, 3 * MIB), (True, 0, 6 * MIB), (True, MOST, 6 * MIB)]
)
def test_a_convolution_takes_the_workspace_of_its_plan(make_trace, monkeypatch, benchmark, draw, expected):
    """Deterministic runs the first plan that is deterministic, others the first or the largest of all."""
    with_plans(monkeypatch)
    kernels = Kernels(architecture=ARCHITECTURE, benchmark=benchmark, draw=draw)
    program = ReplayConditions(kernels=kernels).program(with_convolution(make_trace()), 4)

    assert [expected] * 2 == [program.sizes[tensor] for tensor in program.convolutions]
    assert {WORKSPACE_KIND} == {program.kinds[tensor] for tensor in program.convolutions}


def test_what_takes_nothing_is_no_event(make_trace, monkeypatch):
    """A plan without workspace neither allocates nor frees; steps and phases stay where they were."""
    with_plans(monkeypatch, PLANS[2:])
    trace = with_convolution(make_trace())
    program = ReplayConditions(kernels=Kernels(architecture=ARCHITECTURE)).program(trace, 4)

    assert not {4, -4, 8, -8} & set(program.events)
    assert len(trace.events) - 4 == len(program.events)
    assert [trace.events[i] for i in trace.step_starts] == [program.events[i] for i in program.step_starts]


def test_the_benchmark_of_a_new_convolution_ends_with_an_empty_cache(make_trace, monkeypatch):
    """Once: before the first workspace of the first step."""
    with_plans(monkeypatch)
    trace = with_convolution(make_trace())
    tried, settled = (
        ReplayConditions(kernels=Kernels(architecture=ARCHITECTURE, benchmark=benchmark)).program(trace, 4)
        for benchmark in (True, False)
    )
    assert (tried.events.index(4),) == tried.trials
    assert () == settled.trials


@pytest.mark.parametrize(
    "room", [5, 2], ids=["the next plan has room", "only the plan without workspace has"]
)
def test_a_workspace_without_room_makes_cudnn_take_the_next_plan(make_trace, monkeypatch, room):
    """The run goes on, as PyTorch's does, instead of ending."""
    with_plans(monkeypatch, (Plan(1, 600 * MIB, deterministic=True), *PLANS[1:]))
    kernels = Kernels(architecture=ARCHITECTURE)
    conditions = ReplayConditions(device=make_device((40 + room) * MIB), kernels=kernels)

    profile = replay(with_convolution(make_trace()), 4, conditions)

    assert profile.oom is None
    assert profile.peak_reserved_bytes < 45 * MIB


def test_trying_plans_leaves_what_emptying_the_cache_leaves():
    """A buffer that comes and goes before the cache is emptied changes no segment."""

    def segments(trial):
        allocator = CachingAllocator()
        kept = [allocator.malloc(size) for size in (3 * MIB, 700, 30 * MIB, 5 * MIB)]
        allocator.free(kept[2])
        allocator.free(kept[0])
        if trial:
            allocator.free(allocator.malloc(trial))
        allocator.empty_cache()
        return sorted((s.total_bytes, len(s.blocks)) for s in allocator.snapshot())

    assert segments(0) == segments(2 * MIB) == segments(25 * MIB) == segments(3 << 30)


def test_streams_share_no_memory(make_trace):
    """What another stream has given back serves only that stream: reserved grows, allocated does not."""
    trace = make_trace(temporary=2 * MIB)
    apart = np.arange(len(trace.tensors.op)) % 3
    profile, beside = (
        replay(replace(trace, tensors=replace(trace.tensors, stream=stream)), 4, ENDLESS)
        for stream in (trace.tensors.stream, apart)
    )

    assert profile.peak_allocated_bytes == beside.peak_allocated_bytes
    assert profile.peak_reserved_bytes < beside.peak_reserved_bytes
