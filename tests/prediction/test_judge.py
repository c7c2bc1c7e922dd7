"""Verdicts and their reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.out_of_memory import OutOfMemory
from actprof.prediction.verdict import judge
from actprof.replay.profile import MemoryProfile
from actprof.units import GIB, MIB

CAPACITY = 10 * GIB
PROFILE = MemoryProfile(
    batch_size=8, steps=3, peak_allocated_bytes=5 * GIB, peak_reserved_bytes=6 * GIB,
    most_reserved_bytes=6 * GIB, peak_requested_bytes=5 * GIB, retries=0,
)  # fmt: skip
OOM = OutOfMemory(
    step=1, phase="forward", module="model.encoder", op="aten.mm.default", requested_bytes=MIB,
    segment_bytes=20 * MIB, allocated_bytes=0, reserved_bytes=0, message="",
)  # fmt: skip


def verdict(unlimited, limited=None, available=9 * GIB):
    return judge(unlimited, limited or unlimited, capacity_bytes=CAPACITY, available_bytes=available)


def test_room_to_spare_fits():
    """Three GiB beside six reserved of nine available: it fits, and says what is left."""
    answer = verdict(PROFILE)

    assert ("fits", 3 * GIB) == (answer.verdict, answer.headroom_bytes)
    assert "it runs with 3.00 GiB to spare" == answer.reason


@pytest.mark.parametrize(("short", "name"), [(0, "fits"), (1, "tight")])
def test_less_than_three_percent_of_the_capacity_is_tight(short, name):
    """The line is at 3 % of the device's capacity exactly."""
    available = 6 * GIB + int(0.03 * CAPACITY) - short

    assert name == verdict(PROFILE, available=available).verdict


def test_a_flushed_cache_is_tight():
    """A run that gets through only after a cache flush is never said to fit."""
    answer = verdict(replace(PROFILE, most_reserved_bytes=12 * GIB), replace(PROFILE, retries=2))

    assert "tight" == answer.verdict
    assert "2 times in 3 steps" in answer.reason


def test_running_out_says_where_and_what_for():
    """The reason names phase, step, module and the segment that PyTorch asked for."""
    answer = verdict(replace(PROFILE, most_reserved_bytes=12 * GIB), replace(PROFILE, oom=OOM))

    assert ("oom", -3 * GIB) == (answer.verdict, answer.headroom_bytes)
    assert (
        "it runs out in the forward phase of step 1 in model.encoder, asking for 20.00 MiB" == answer.reason
    )


def test_segments_given_back_without_a_retry_are_tight():
    """A run that gets through although it would like more says why, with what is really left."""
    answer = verdict(
        replace(PROFILE, most_reserved_bytes=12 * GIB), replace(PROFILE, most_reserved_bytes=8 * GIB)
    )

    assert ("tight", 1 * GIB) == (answer.verdict, answer.headroom_bytes)
    assert "gives cached segments back" in answer.reason


def test_no_room_at_all_is_said_as_such():
    """Where the context and others fill the device, no op is to blame."""
    limited = replace(PROFILE, oom=replace(OOM, step=0, phase="setup"))

    assert "nothing is left" in verdict(PROFILE, limited, available=0).reason
    assert "while the run is set up" in verdict(PROFILE, limited, available=1).reason


@pytest.mark.parametrize(("most", "name"), [(8.7, "fits"), (8.8, "tight"), (12, "tight")])
def test_other_plans_of_cudnn_can_make_it_tight(most, name):
    """Three GiB are left likely; where some choice of plans leaves less than 3 %, that is said."""
    answer = judge(
        PROFILE,
        PROFILE,
        capacity_bytes=CAPACITY,
        available_bytes=9 * GIB,
        most_reserved_bytes=int(most * GIB),
    )

    assert (name, 3 * GIB) == (answer.verdict, answer.headroom_bytes)
    assert (name == "tight") == ("which plans cuDNN takes" in answer.reason)
