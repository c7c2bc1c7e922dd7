"""Laws that hold for every program, and agreement with a slow, obvious model."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_model import SlowAllocator, SlowOutOfMemoryError

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.out_of_memory import OutOfMemoryError

MIB = 1024**2
CAPACITY = 300 * MIB
SETTINGS = [
    "",
    "expandable_segments:True",
    "max_split_size_mb:32",
    "max_split_size_mb:24,max_non_split_rounding_mb:40",
    "roundup_power2_divisions:[1:8,4:2,>:4]",
    "roundup_power2_divisions:4,expandable_segments:True",
    "per_process_memory_fraction:0.6",
    "per_process_memory_fraction:0.7,expandable_segments:True",
    "per_process_memory_fraction:0.8,garbage_collection_threshold:0.5",
    "per_process_memory_fraction:0.9,garbage_collection_threshold:0.3,max_split_size_mb:40",
]
sizes = st.one_of(
    st.integers(1, 2 * MIB),
    st.integers(1 * MIB, 30 * MIB),
    st.sampled_from(
        [512, MIB - 1, MIB, MIB + 1, 10 * MIB - 1, 10 * MIB, 19 * MIB, 20 * MIB, 32 * MIB, 100 * MIB]
    ),
)
streams = st.sampled_from([0, 0, 0, 5])
steps = st.one_of(
    st.tuples(st.just("malloc"), sizes, streams),
    st.tuples(st.just("malloc"), sizes, streams),
    st.tuples(st.just("free"), st.integers(0, 10**6), st.just(0)),
    st.tuples(st.just("empty_cache"), st.just(0), st.just(0)),
)
programs = st.lists(steps, max_size=60)
versions = st.sampled_from([(2, 11), (2, 12), (2, 13)])
some_settings = st.sampled_from(SETTINGS)
bounded = settings(deadline=None, max_examples=150)


def drive(allocator, program, check=lambda _: None):
    """Run `program`, freeing by index into the live blocks; `check` sees them after each step."""
    live = {}
    for action, number, stream in program:
        if action == "malloc":
            with suppress(OutOfMemoryError):
                live[allocator.malloc(number, stream)] = number
        elif action == "free" and live:
            address = list(live)[number % len(live)]
            del live[address]
            allocator.free(address)
        elif action == "empty_cache":
            allocator.empty_cache()
        check(live)
    return live


def make(text, version=(2, 11)):
    return CachingAllocator(AllocatorConfig.parse(text), capacity_bytes=CAPACITY, torch_version=version)


def blocks_of(allocator):
    return [block for segment in allocator.snapshot() for block in segment.blocks]


@bounded
@given(programs, some_settings, versions)
def test_bytes_are_conserved(program, text, version):
    """Allocated and free blocks add up to what is reserved, and requests to what was asked for."""
    allocator = make(text, version)

    def check(live):
        blocks = blocks_of(allocator)
        used = sum(block.size_bytes for block in blocks if block.state != "free")
        free = sum(block.size_bytes for block in blocks if block.state == "free")
        assert used == allocator.allocated_bytes
        assert allocator.reserved_bytes == used + free
        assert sum(live.values()) == allocator.requested_bytes
        assert allocator.reserved_bytes <= CAPACITY

    drive(allocator, program, check)


@bounded
@given(programs, some_settings, versions)
def test_blocks_tile_their_segments(program, text, version):
    """The blocks of a segment follow each other without gap, and no two free ones are adjacent."""
    allocator = make(text, version)

    def check(live):
        for segment in allocator.snapshot():
            assert segment.address == segment.blocks[0].address
            assert segment.total_bytes == sum(block.size_bytes for block in segment.blocks)
            for before, after in pairwise(segment.blocks):
                assert before.address + before.size_bytes == after.address
                assert f"{before.state} {after.state}" != "free free"

    drive(allocator, program, check)


@bounded
@given(programs, some_settings)
def test_live_blocks_never_overlap(program, text):
    """No byte belongs to two blocks in use, and each block holds its request."""
    allocator = make(text)

    def check(live):
        used = {b.address: b for b in blocks_of(allocator) if b.state == "allocated"}
        assert sorted(live) == sorted(used)
        for address, size in live.items():
            assert size == used[address].requested_bytes
            assert size <= used[address].size_bytes
        for before, after in pairwise(sorted(used)):
            assert before + used[before].size_bytes <= after

    drive(allocator, program, check)


@bounded
@given(programs, sizes)
def test_best_fit_is_the_smallest_block_that_is_large_enough(program, size):
    """With the default settings no free block of the pool that fits is smaller than the one taken."""
    allocator = make("")
    drive(allocator, program)
    wanted = -(-size // 512) * 512
    pool = "small" if wanted <= MIB else "large"
    fitting = [
        (block.size_bytes, block.address)
        for segment in allocator.snapshot()
        if (segment.pool, segment.stream) == (pool, 0)
        for block in segment.blocks
        if block.state == "free" and block.size_bytes >= wanted
    ]
    if fitting:
        assert min(fitting)[1] == allocator.malloc(size)


@bounded
@given(programs, some_settings)
def test_peaks_are_the_maxima_since_the_reset(program, text):
    """Peaks equal the largest value seen, and start again at the current one."""
    allocator = make(text)
    seen = [(0, 0)]
    drive(allocator, program, lambda _: seen.append((allocator.allocated_bytes, allocator.requested_bytes)))
    assert max(allocated for allocated, _ in seen) == allocator.peak_allocated_bytes
    assert max(requested for _, requested in seen) == allocator.peak_requested_bytes
    assert allocator.peak_reserved_bytes >= allocator.reserved_bytes
    allocator.reset_peaks()
    assert allocator.allocated_bytes == allocator.peak_allocated_bytes
    assert allocator.reserved_bytes == allocator.peak_reserved_bytes


@bounded
@given(programs, some_settings)
def test_running_out_changes_nothing_but_the_cache(program, text):
    """After an out-of-memory error the blocks in use are as before, and a request that fits is served."""
    allocator = make(text)
    drive(allocator, program)
    used = [block for block in blocks_of(allocator) if block.state == "allocated"]
    allocated, ooms = allocator.allocated_bytes, allocator.num_ooms
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.malloc(CAPACITY + 1)
    assert caught.value.requested_bytes == CAPACITY + 1
    assert allocator.reserved_bytes == caught.value.reserved_bytes
    assert used == [block for block in blocks_of(allocator) if block.state == "allocated"]
    assert allocated == allocator.allocated_bytes
    assert ooms + 1 == allocator.num_ooms
    for block in used:
        allocator.free(block.address)
    assert allocator.allocated_bytes == allocator.requested_bytes == 0
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0
    allocator.malloc(MIB)


@bounded
@given(programs, some_settings)
def test_a_snapshot_restores(program, text):
    """A fresh allocator put into the state of a snapshot shows the same snapshot and counts."""
    allocator, other = make(text), make(text)
    drive(allocator, program)
    other.restore(allocator.snapshot())
    assert allocator.snapshot() == other.snapshot()
    assert allocator.allocated_bytes == other.allocated_bytes
    assert allocator.requested_bytes == other.requested_bytes
    assert allocator.reserved_bytes == other.reserved_bytes


@pytest.mark.parametrize("text", SETTINGS)
@settings(deadline=None, max_examples=40)
@given(program=programs)
def test_agrees_with_the_slow_model(text, program):
    """Addresses, reserved bytes and retries are those of a model that scans lists."""
    allocator = make(text)
    device = make(text).device  # a second one, for the same addresses
    places = device.place_range if allocator.config.expandable_segments else device.place
    slow = SlowAllocator(allocator.config, capacity_bytes=CAPACITY, places=places)
    live = []
    for action, number, stream in program:
        if action == "malloc":
            try:
                expected = slow.malloc(number, stream)
            except SlowOutOfMemoryError:
                with pytest.raises(OutOfMemoryError):
                    allocator.malloc(number, stream)
            else:
                assert expected == allocator.malloc(number, stream)
                live.append(expected)
        elif action == "free" and live:
            address = live.pop(number % len(live))
            slow.free(address)
            allocator.free(address)
        elif action == "empty_cache":
            slow.empty_cache()
            allocator.empty_cache()
        assert slow.reserved == allocator.reserved_bytes
        assert slow.allocated == allocator.allocated_bytes
        assert slow.retries == allocator.num_alloc_retries
