"""From what a run on a GPU found to its verdict: `fits` is not said where it is in doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cell import Cell
from actprof.measurement import CardUse, DeviceFacts, Measurement, StepMemory
from actprof.measuring.card_use import DRIVER_BYTES
from actprof.measuring.judge_run import context_bytes, judge_run
from actprof.results import GpuUse, Result
from actprof.units import GIB, MIB

CARD = CardUse(samples=9, process_bytes=95 * MIB, last_bytes=90 * MIB, others_bytes=10 * MIB)
DEVICE = DeviceFacts(type="cuda", name="it", total_bytes=GIB)


def measured(*steps, **options):
    """Return the measurement of a run whose steps had these (reserved bytes, flushes)."""
    memory = tuple(
        StepMemory(peak_allocated_bytes=MIB, peak_reserved_bytes=size, retries=flushes)
        for size, flushes in steps
    )
    return Measurement(step_memory=memory, allocator_retries=sum(flushes for _, flushes in steps), **options)


def judged(*steps, alloc_conf="", device=DEVICE, **options):
    """Return the result of a run with these steps, under a cap of 1 GiB unless told otherwise."""
    cell = Cell(gpu=None, alloc_conf=alloc_conf)
    gpu = GpuUse(name="it", capacity_bytes=GIB, context_bytes=0)
    result = Result(source="measured", cell=cell, gpu=gpu, verdict="error")
    return judge_run(result, measured(*steps, **{"cap_bytes": GIB, **options}), device)


def test_what_cudnn_does_while_it_tries_its_plans_is_no_flush_of_the_run():
    """The first step fills the card and flushes the cache; the run fits, as it is predicted to."""
    steps = ((GIB, 3), (200 * MIB, 0), (200 * MIB, 0))
    tried, heuristics = judged(*steps), judged(*steps, cudnn_benchmark=False)

    assert ("fits", 0, GIB - 200 * MIB) == (tried.verdict, tried.retries, tried.headroom_bytes)
    assert ("tight", 3) == (heuristics.verdict, heuristics.retries)
    assert ("tight", 1) == (judged((GIB, 3), (9, 1)).verdict, judged((GIB, 3), (9, 1)).retries)


@pytest.mark.parametrize(("count", "said"), [(1, "only 1 step was run"), (2, "only 2 steps were run")])
def test_a_run_of_one_or_two_steps_does_not_fit_yet(count, said):
    """The optimizer's state appears after the first; what survives one step may die in the next."""
    result = judged(*[(200 * MIB, 0)] * count)

    assert ("tight", True) == (result.verdict, said in result.reason)
    assert "fits" == judged(*[(200 * MIB, 0)] * 3).verdict


def test_a_run_that_still_grew_does_not_fit_yet():
    """Nobody knows where it ends."""
    growing, grown = judged((1, 0), (1, 0), (2, 0), (3, 0)), judged((1, 0), (2, 0), (3, 0), (3, 0))

    assert ("tight", "fits") == (growing.verdict, grown.verdict)
    assert "still grew in step 4, the last one" in growing.reason


def test_a_fraction_in_the_settings_counts_on_the_card_as_it_is():
    """Half of the card is what the run could have had."""
    steps = [(500 * MIB, 0)] * 3
    whole, half = (
        judged(*steps, cap_bytes=None, alloc_conf=conf) for conf in ("", "per_process_memory_fraction:0.5")
    )
    assert ("fits", GIB - 500 * MIB) == (whole.verdict, whole.headroom_bytes)
    assert ("tight", GIB // 2 - 500 * MIB) == (half.verdict, half.headroom_bytes)


def test_no_context_is_read_off_a_run_that_flushed():
    """Its segments at the last look are not those of its peak; nor is one read off a single step."""
    settled, flushed, single = (
        context_bytes(measured((MIB, 0), *steps), CARD)
        for steps in ([(60 * MIB, 0)] * 2, [(60 * MIB, 1)] * 2, [(60 * MIB, 0)])
    )
    assert (30 * MIB, 0, 0) == (settled, flushed, single)
    assert 0 == context_bytes(measured(*[(60 * MIB, 0)] * 3), None)


def test_the_context_and_the_others_of_this_card_are_not_to_be_had():
    """What NVML saw counts on the card as it is; a card that is played has its own."""
    steps = [(60 * MIB, 0)] * 3
    here = judged(*steps, cap_bytes=None, context_bytes=30 * MIB, card=CARD)

    assert GIB - 30 * MIB - 10 * MIB - 60 * MIB == here.headroom_bytes
    assert 90 * MIB == here.peak_process_bytes


def test_what_the_idle_card_lacked_is_others_even_where_they_are_not_listed():
    """As in a container; what a driver may take for itself is not meant."""
    steps = [(60 * MIB, 0)] * 3
    device = replace(DEVICE, total_bytes=24 * GIB)
    headrooms = [
        judged(*steps, device=device, cap_bytes=None, card=replace(CARD, idle_bytes=idle)).headroom_bytes
        for idle in (0, GIB, DRIVER_BYTES + 20 * GIB)
    ]
    assert [24 * GIB - 70 * MIB, 24 * GIB - 70 * MIB, 4 * GIB - 60 * MIB] == headrooms
