"""Replays of hand-made traces: peaks, retries, running out, workspaces, detail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actprof.allocator import AllocatorConfig
from actprof.allocator.program import Workspaces, build_program
from actprof.allocator.replay import Device, replay
from actprof.trace.model import EMPTY_CACHE
from actprof.units import MIB

NATIVE = AllocatorConfig()
ENDLESS = Device()


def test_the_peak_counts_what_is_alive_at_once(make_trace):
    """Weights, inputs, activation and temporary of a batch of 4 are alive together."""
    trace = make_trace()

    profile = replay(trace, 4, config=NATIVE, device=ENDLESS)

    assert 1 * MIB + 4 * 4096 + 4 * MIB + 2 * MIB == profile.peak_requested_bytes
    assert profile.oom is None
    assert 0 == profile.retries


def test_the_peak_leaves_out_what_happened_before_the_update(make_trace):
    """Two inputs are alive while a batch arrives, but that is before `update_policy` resets the peak."""
    trace = make_trace(weights=512, activation=512, temporary=512)

    profile = replay(trace, 1000, config=NATIVE, device=ENDLESS)

    assert 512 + 1000 * (4096 + 1024) == profile.peak_requested_bytes


def test_steps_are_replayed_until_the_segments_settle(make_trace):
    """Step 2 is repeated once to see that it changes nothing."""
    assert 3 == replay(make_trace(), 4, config=NATIVE, device=ENDLESS).steps


def test_a_trace_that_cannot_be_repeated_is_replayed_as_it_is(make_trace):
    """Without carried tensors the two traced steps are all there is."""
    from dataclasses import replace

    trace = replace(make_trace(), carried=None)

    assert 2 == replay(trace, 4, config=NATIVE, device=ENDLESS).steps


def test_each_thread_that_multiplies_takes_one_cublas_workspace(make_trace):
    """Two steps with a product in the forward and one in the backward pass make two workspaces."""
    program = build_program(make_trace(), Workspaces(cublas_bytes=8 * MIB))

    assert (8 * MIB, 8 * MIB) == program.workspace_sizes


def test_a_workspace_comes_after_the_result_of_the_product_that_asks_for_it(make_trace):
    """The forward product's result is tensor 2; the workspace is allocated right behind it."""
    trace = make_trace()
    program = build_program(trace, Workspaces(cublas_bytes=8 * MIB))
    workspace = len(trace.tensors.op) + 1

    assert 3 == program.events[program.events.index(workspace) - 1]


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [("handle", (MIB, 8, MIB, 8)), ("call", (MIB, 8, MIB, 8, MIB, MIB)), ("shared", (8, 8))],
)
def test_cublaslt_takes_its_workspace_per_handle_or_per_call(make_trace, lifetime, expected):
    """Kept: one per thread. Per call: one for each of the four fused products. Shared: none."""
    size = 0 if lifetime == "shared" else MIB
    spaces = Workspaces(cublas_bytes=8, cublaslt_bytes=size, cublaslt_lifetime=lifetime)

    assert expected == build_program(make_trace(blas=2), spaces).workspace_sizes


def test_positions_move_with_what_is_put_in(make_trace):
    """Steps and phases begin at the same events with and without workspaces."""
    trace = make_trace()
    program = build_program(trace, Workspaces(cublas_bytes=8))
    plain = build_program(trace, Workspaces())

    def beginnings(p):
        return [p.events[i] for i in (*p.step_starts, *p.update_starts)]

    assert beginnings(plain) == beginnings(program)
    assert [phase for _, phase in plain.phase_starts] == [phase for _, phase in program.phase_starts]


def test_running_out_names_step_phase_module_and_op(make_trace):
    """On a device of 12 MiB the activation of a batch of 16 finds no memory in the first forward pass."""
    device = Device(capacity_bytes=12 * MIB, context_bytes=1 * MIB)

    oom = replay(make_trace(), 16, config=NATIVE, device=device).oom

    assert (1, "forward", "model.encoder", "aten.mm.default") == (oom.step, oom.phase, oom.module, oom.op)
    assert 16 * MIB == oom.requested_bytes == oom.segment_bytes
    assert oom.message.startswith("CUDA out of memory. Tried to allocate 16.00 MiB. GPU 0 has a total")


def test_the_context_and_others_shrink_the_device(make_trace):
    """What fits 40 MiB exactly does not fit when others hold half of it."""
    trace = make_trace()
    roomy = Device(capacity_bytes=40 * MIB)
    shared = Device(capacity_bytes=40 * MIB, used_by_others_bytes=20 * MIB)

    assert replay(trace, 8, config=NATIVE, device=roomy).oom is None
    assert replay(trace, 8, config=NATIVE, device=shared).oom is not None


def test_peaks_never_fall_as_the_batch_grows(make_trace):
    """Allocated and reserved peaks rise with the batch size, native and expandable."""
    trace = make_trace()
    for text in ("", "expandable_segments:True"):
        config = AllocatorConfig.parse(text)
        profiles = [replay(trace, size, config=config, device=ENDLESS) for size in range(2, 40, 3)]
        allocated = [p.peak_allocated_bytes for p in profiles]
        assert sorted(allocated) == allocated


def test_detail_changes_no_number(make_trace):
    """A replay with a timeline finds the same peaks as one without."""
    trace = make_trace()
    plain = replay(trace, 4, config=NATIVE, device=ENDLESS)
    detailed = replay(trace, 4, config=NATIVE, device=ENDLESS, detail=True)

    assert plain.peak_allocated_bytes == detailed.peak_allocated_bytes
    assert plain.peak_reserved_bytes == detailed.peak_reserved_bytes
    assert plain.peak_allocated_bytes == int(
        np.max(detailed.timeline.allocated[detailed.timeline.step_starts[-1] :])
    )


def test_who_is_alive_at_the_peak_adds_up_to_it(make_trace):
    """The requested bytes of the tensors alive at the peak are the requested peak."""
    trace = make_trace()
    profile = replay(trace, 4, config=NATIVE, device=ENDLESS, detail=True)

    assert profile.peak_requested_bytes == trace.tensors.requested_bytes(4)[profile.alive_at_peak].sum()


def test_a_batch_size_for_which_the_trace_does_not_hold_is_refused(make_trace):
    """Batch size one needs a trace of its own."""
    with pytest.raises(ValueError, match="batch size 1"):
        replay(make_trace(), 1, config=NATIVE, device=ENDLESS)


@pytest.mark.parametrize("benchmark", [True, False])
def test_an_emptied_cache_gives_free_segments_back(make_trace, benchmark):
    """After the first step's activation is freed, emptying the cache returns its segment to the device.

    Without cuDNN's benchmark nobody empties it.
    """
    trace = make_trace()
    first_step_ends = trace.step_starts[1]
    events = np.insert(trace.events, first_step_ends - 1, EMPTY_CACHE)
    moved = {
        name: tuple(start + (start >= first_step_ends) for start in getattr(trace, name))
        for name in ("step_starts", "update_starts")
    }
    device = Device(cudnn_benchmark=benchmark)
    emptied = replay(
        replace(trace, events=events, **moved), 64, config=NATIVE, device=device, detail=True
    ).timeline

    returned = emptied.reserved[first_step_ends - 2] - emptied.reserved[first_step_ends - 1]
    assert benchmark == (returned > 0)
    assert emptied.allocated[first_step_ends - 1] == emptied.allocated[first_step_ends - 2]
