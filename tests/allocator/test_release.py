"""What a release gives back: whole segments, also in a state that other settings left behind."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actprof.allocator import AllocatorConfig, BlockRecord, CachingAllocator, SegmentRecord
from actprof.out_of_memory import OutOfMemoryError
from actprof.snapshots.events import Event, Events
from actprof.snapshots.recording import Recording, open_recording
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.what_if_replay import Question

MIB = 1024**2
BASE = 0x7F00_0000_0000
SHARED = Path(
    os.environ.get("ACTPROF_TRACES", Path(__file__).resolve().parents[3] / "shared" / "traces")
).parent


def segment(*blocks, index=0):
    """Return a large segment of blocks of so many MiB: in use above 0, free below."""
    address = start = BASE + index * (1 << 36)
    records = []
    for mib in blocks:
        size, is_free = abs(mib) * MIB, mib < 0
        requested, state = (0, "free") if is_free else (size, "allocated")
        records.append(BlockRecord(address=address, size_bytes=size, requested_bytes=requested, state=state))
        address += size
    return SegmentRecord(
        address=start,
        total_bytes=address - start,
        stream=0,
        pool="large",
        is_expandable=False,
        blocks=tuple(records),
    )


def restored(*segments, conf="max_split_size_mb:20", free_mib=0):
    """Return an allocator in this state on a device of which `free_mib` are left."""
    reserved = sum(segment.total_bytes for segment in segments)
    allocator = CachingAllocator(AllocatorConfig.parse(conf), capacity_bytes=reserved + free_mib * MIB)
    allocator.restore(segments)
    return allocator


def test_a_part_of_a_segment_is_never_given_back():
    """60 MiB of a segment are free, but the other 40 are not: a request of 30 runs out."""
    allocator = restored(segment(40, -60), free_mib=10)
    with pytest.raises(OutOfMemoryError):
        allocator.malloc(30 * MIB)
    assert (segment(40, -60),) == allocator.snapshot()
    assert 1 == allocator.num_alloc_retries


def test_a_whole_segment_goes_in_place_of_a_part_that_would_fit_better():
    """The smallest whole one that suffices, and no retry is counted."""
    allocator = restored(segment(40, -50), segment(-90, index=1), segment(-70, index=2), free_mib=10)
    allocator.malloc(26 * MIB)
    assert [26, 90, 90] == sorted(s.total_bytes // MIB for s in allocator.snapshot())
    assert 0 == allocator.num_alloc_retries


def test_parts_do_not_count_among_several_that_go_together():
    """The largest whole ones go until their sum suffices; a larger part stays."""
    whole = [segment(-mib, index=index) for index, mib in enumerate((40, 50, 60), 1)]
    allocator = restored(segment(10, -90), *whole)
    allocator.malloc(100 * MIB)
    assert [40, 100, 100] == sorted(s.total_bytes // MIB for s in allocator.snapshot())
    assert 0 == allocator.num_alloc_retries


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.integers(2, 70), max_size=8),
    st.booleans(),
)
def test_what_is_reserved_is_the_sum_of_the_segments(sizes, requests, first_is_free):
    """Whatever the state was: after releases every segment is still whole."""
    segments = [
        segment(*(-mib if place % 2 != first_is_free else mib for place, mib in enumerate(row)), index=index)
        for index, row in enumerate(sizes)
    ]
    allocator = restored(*segments, free_mib=20)
    for mib in requests:
        with suppress(OutOfMemoryError):
            allocator.malloc(mib * MIB)
        snapshot = allocator.snapshot()
        assert allocator.reserved_bytes == sum(s.total_bytes for s in snapshot)
        assert {s.address for s in snapshot} >= {s.address for s in segments if any_used(s)}


def any_used(record):
    return any(block.state == "allocated" for block in record.blocks)


def test_a_recording_under_default_settings_runs_out_with_max_split_size():
    """It began with 40 MiB in use and 60 free of one segment; 30 more were taken out of the free ones."""
    recording = Recording(
        config=AllocatorConfig(),
        torch_version=(2, 11),
        from_empty=False,
        events=Events.of([Event("alloc", BASE + 40 * MIB, 30 * MIB, 0)]),
        final=(segment(40, 30, -30),),
    )
    config = AllocatorConfig.parse("max_split_size_mb:20")
    question = Question(label="split", config=config, available_bytes=110 * MIB)
    _, outcome = replay_recording(recording, [question]).outcomes
    assert (0, 30 * MIB) == (outcome.oom.event, outcome.oom.segment_bytes)
    assert (0, 1, 100 * MIB) == (outcome.segments_returned, outcome.retries, outcome.peak_reserved_bytes)


@pytest.mark.parametrize("name", ["split_release", "split_release2"])
def test_recordings_from_the_field_run_out(name):
    """The same, as somebody sent it."""
    path = SHARED / "cases" / f"{name}.pickle"
    if not path.is_file():
        pytest.skip(f"no {path}")
    question = Question(
        label="split",
        config=AllocatorConfig.parse("max_split_size_mb:20"),
        available_bytes=110 * MIB,
    )
    _, outcome = replay_recording(open_recording(path), [question]).outcomes
    assert 0 == outcome.oom.event
