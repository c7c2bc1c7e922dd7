"""Expandable segments: pages get memory on demand and are given back one by one."""

from __future__ import annotations

import pytest

from actprof.allocator import AllocatorConfig, CachingAllocator
from actprof.out_of_memory import OutOfMemoryError

MIB = 1024**2
PAGE = 20 * MIB


def make(**options):
    return CachingAllocator(AllocatorConfig(expandable_segments=True), **options)


def shape(allocator):
    """Return each range that has memory as its blocks: +bytes in use, -bytes free."""
    return [
        [b.size_bytes if b.state != "free" else -b.size_bytes for b in segment.blocks]
        for segment in allocator.snapshot()
    ]


def test_memory_comes_in_whole_pages():
    """A request maps the pages it needs behind what is free: 20 MiB each, 2 MiB in the small pool."""
    allocator = make()
    allocator.malloc(25 * MIB)
    assert shape(allocator) == [[25 * MIB, -15 * MIB]]
    allocator.malloc(16 * MIB)  # the free 15 MiB and one page more
    assert shape(allocator) == [[25 * MIB, 16 * MIB, -19 * MIB]]
    allocator.malloc(512)
    assert allocator.reserved_bytes == 62 * MIB


def test_one_segment_per_stream_and_pool():
    """Blocks of one pool and stream lie behind each other; others begin a segment of their own."""
    allocator = make()
    first = allocator.malloc(PAGE)
    assert first + PAGE == allocator.malloc(PAGE)
    assert abs(first - allocator.malloc(PAGE, stream=3)) > 1 << 30
    assert [s.total_bytes for s in sorted(allocator.snapshot(), key=lambda s: s.stream)] == [2 * PAGE, PAGE]


def test_any_rest_is_split():
    """Large blocks too are split to the last 512 bytes, so no slack is counted."""
    allocator = make()
    allocator.malloc(PAGE - 512)
    assert shape(allocator) == [[PAGE - 512, -512]]
    assert allocator.inactive_split_bytes == 0


def test_the_block_that_can_grow_is_taken_last():
    """A larger free block in the middle is preferred to a smaller one at the end, which could still grow."""
    allocator = make()
    first = allocator.malloc(12 * MIB)
    second = allocator.malloc(2 * MIB)  # 6 MiB are left at the end
    allocator.free(first)
    assert first == allocator.malloc(4 * MIB)
    assert second + 2 * MIB == allocator.malloc(9 * MIB)  # only the end can hold it, by growing


def test_only_whole_pages_inside_a_free_block_are_unmapped():
    """Of a free block from 15 to 65 MiB the pages at 20 and 40 MiB go; the ends keep their memory."""
    allocator = make()
    blocks = [allocator.malloc(size * MIB) for size in (15, 50, 15)]
    allocator.free(blocks[1])
    allocator.empty_cache()
    assert shape(allocator) == [[15 * MIB, -5 * MIB], [-5 * MIB, 15 * MIB]]
    assert allocator.reserved_bytes == 2 * PAGE


def test_a_gap_is_mapped_again_before_the_end():
    """The lowest gap with room gets its memory back, and the parts around it merge."""
    allocator = make()
    blocks = [allocator.malloc(size * MIB) for size in (15, 50, 15)]
    allocator.free(blocks[1])
    allocator.empty_cache()
    assert blocks[1] == allocator.malloc(22 * MIB)  # 5 MiB that stayed and one page of two
    assert shape(allocator) == [[15 * MIB, 22 * MIB, -3 * MIB], [-5 * MIB, 15 * MIB]]
    assert blocks[1] + 22 * MIB == allocator.malloc(28 * MIB)
    assert shape(allocator) == [[15 * MIB, 22 * MIB, 28 * MIB, 15 * MIB]]


def test_a_restored_segment_knows_its_gaps():
    """An allocator restored from a snapshot with a gap maps the gap again and merges across it."""
    allocator, other = make(), make()
    blocks = [allocator.malloc(size * MIB) for size in (15, 30, 15)]
    allocator.free(blocks[1])
    allocator.empty_cache()
    other.restore(allocator.snapshot())
    for each in (allocator, other):
        assert blocks[1] == each.malloc(30 * MIB)
        assert shape(each) == [[15 * MIB, 30 * MIB, 15 * MIB]]


def test_an_empty_segment_is_given_up():
    """When nothing is in use all memory goes back, and the next request begins a new segment."""
    allocator = make()
    block = allocator.malloc(PAGE)
    allocator.free(block)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0
    assert shape(allocator) == []
    assert block != allocator.malloc(PAGE)


def test_a_full_device_is_retried_after_unmapping():
    """Pages that another stream holds free are unmapped and serve the request."""
    allocator = make(capacity_bytes=4 * PAGE)
    block = allocator.malloc(3 * PAGE, stream=1)
    allocator.free(block)
    allocator.malloc(2 * PAGE)
    assert allocator.num_alloc_retries == 1
    assert allocator.reserved_bytes == 2 * PAGE


def test_running_out_leaves_what_is_in_use():
    """A request for more pages than the device has fails, and what was free stays usable."""
    allocator = make(capacity_bytes=50 * MIB)
    first = allocator.malloc(12 * MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        allocator.malloc(50 * MIB)
    assert caught.value.segment_bytes == 50 * MIB
    assert caught.value.reserved_bytes == PAGE
    assert shape(allocator) == [[12 * MIB, -8 * MIB]]
    assert first + 12 * MIB == allocator.malloc(28 * MIB)  # 8 MiB that are there and one page


def test_gaps_are_mapped_one_by_one():
    """A request over two gaps maps the first and fails in the second; the release takes the first back."""
    allocator = make(capacity_bytes=6 * PAGE)
    blocks = [allocator.malloc(PAGE) for _ in range(4)]
    for index in (1, 3):
        allocator.free(blocks[index])
    allocator.empty_cache()
    allocator.free(blocks[2])  # now: a page in use, one unmapped, one free, the rest unmapped
    allocator.malloc(3 * PAGE, stream=9)  # one page of the device is left
    allocator.device.log = log = []
    with pytest.raises(OutOfMemoryError):
        allocator.malloc(3 * PAGE)
    start = blocks[1]
    assert [("segment_map", start, PAGE), ("segment_unmap", start, 2 * PAGE)] == log
    assert allocator.reserved_bytes == 4 * PAGE


def test_the_cap_is_tested_with_the_segment_size():
    """With a memory fraction a request that one page would serve fails if its segment is over the cap."""
    config = AllocatorConfig(expandable_segments=True, per_process_memory_fraction=0.5)
    allocator = CachingAllocator(config, capacity_bytes=100 * MIB)
    allocator.malloc(28 * MIB)  # two pages, of which 12 MiB are free
    with pytest.raises(OutOfMemoryError):
        allocator.malloc(16 * MIB)  # one page would serve, but 40 + 16 MiB is above 50
    allocator.malloc(12 * MIB)
    assert allocator.reserved_bytes == 2 * PAGE


def test_a_full_address_range_is_followed_by_another():
    """The range is 1 1/8 of the device, in whole pages; where it has no room a second one begins."""
    allocator = make(capacity_bytes=8 * PAGE)  # a range of 9 pages
    blocks = [allocator.malloc(PAGE) for _ in range(8)]
    for index in (0, 2, 4, 6):
        allocator.free(blocks[index])
    far = allocator.malloc(3 * PAGE)
    assert not blocks[0] <= far < blocks[0] + 9 * PAGE
    assert allocator.num_alloc_retries == 1
