"""Giving cached segments back to the device: all, just enough, or the old ones.

Mirrors release_cached_blocks, release_available_cached_blocks and garbage_collect_cached_blocks of torch
2.6 to 2.11. Only a free block that is a whole segment can be given back; of expandable segments, whole free
pages.
"""

from __future__ import annotations

from bisect import bisect_left

from actprof.allocator.blocks import ADDRESS_MASK, Arena, Block, Heap
from actprof.allocator.device_memory import DeviceMemory
from actprof.allocator.expandable import unmap_pages


def release_segment(heap: Heap, device: DeviceMemory, block: Block) -> None:
    """Give back the segment that the free `block` is (release_block)."""
    heap.drop_free(block)
    device.give_back("segment_free", block.address, block.size)


def release_cached(heap: Heap, device: DeviceMemory, *, expandable: bool) -> None:
    """Give back all free memory: large pool first, then by stream, size and tie-break (release_blocks)."""
    for arenas in (heap.large, heap.small):
        for block in heap.free_blocks(arenas):
            if expandable:
                unmap_pages(heap, device, block)
            elif not block.is_split:
                release_segment(heap, device, block)


def release_available(
    heap: Heap, device: DeviceMemory, arena: Arena, size: int, max_split_bytes: int
) -> bool:
    """Give back the smallest oversize segment that holds `size`, or several large ones together.

    Returns whether enough was given back for a new attempt (release_available_cached_blocks). PyTorch need
    not look whether a block is a whole segment: with one `max_split_size` for the whole run no part of a
    segment is oversize. Segments of a recording under other settings have such parts; they stay.
    """
    wanted = max(size, max_split_bytes)
    oversize = arena.free[bisect_left(arena.free, max_split_bytes << heap.size_shift) :]
    whole = [block for key in oversize if not (block := heap.blocks[key & ADDRESS_MASK]).is_split]
    for block in whole:
        if block.size >= wanted:
            release_segment(heap, device, block)
            return True
    released = 0
    while whole and released < wanted:
        block = whole.pop()
        released += block.size
        release_segment(heap, device, block)
    return released >= wanted


def collect_garbage(heap: Heap, device: DeviceMemory, *, searches: int, threshold_bytes: int) -> None:
    """Give back large segments of at least average age until `threshold_bytes` are kept.

    A block's age is the number of `searches` of the large pool since it became free. A round frees all of
    at least the average age, even when fewer would do (garbage_collect_cached_blocks).
    """
    excess = device.reserved_bytes - threshold_bytes
    ages = [(block, searches - block.born) for block in heap.free_blocks(heap.large) if not block.is_split]
    while excess > 0 and ages:
        average = sum(age for _, age in ages) / len(ages)
        for block, age in ages:
            if age >= average:
                excess -= block.size
                release_segment(heap, device, block)
        ages = [(block, age) for block, age in ages if age < average]
