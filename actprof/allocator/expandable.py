"""Expandable segments: one range of addresses per arena whose pages get memory on demand.

Mirrors find_expandable_block, map_block, try_allocate_expandable_block, unmap_block and a part of
get_free_block of torch 2.6 to 2.11. A block without memory is always made of whole pages, counted from the
start of its segment.
"""

from __future__ import annotations

from actprof.allocator.blocks import ADDRESS_MASK, Arena, Block, Heap
from actprof.allocator.device_memory import DeviceMemory
from actprof.units import ceil_div


def allocate_expandable(heap: Heap, device: DeviceMemory, arena: Arena, size: int) -> Block | None:
    """Return a block of at least `size` bytes, taken off the free list, or None where memory runs out.

    Memory that was mapped before it ran out stays, as free blocks (try_allocate_expandable_block).
    """
    block = _find(heap, device, arena, size)
    if block.key < 0 and not _map(heap, device, block, min(block.size, size)):
        return None
    while block.size < size:
        gap = block.next
        if gap is None or not _map(heap, device, gap, min(size - block.size, gap.size)):
            return None
        block = gap  # it absorbed the block before it
    heap.remove_free(block)
    return block


def unmap_pages(heap: Heap, device: DeviceMemory, block: Block) -> None:
    """Return the whole pages inside the free `block` to the device (unmap_block)."""
    begin, end = _inner_pages(block)
    if begin >= end:
        return
    heap.drop_free(block)
    address, stop = block.address, block.address + block.size
    if address < begin:
        part = Block(begin - address, heap.part_place(block, address), block.arena)
        block.put_before(part)
        heap.insert_free(part)
    if end < stop:
        part = Block(stop - end, heap.part_place(block, end), block.arena)
        block.put_behind(part)
        heap.insert_free(part)
    block.place += begin - address
    block.size = end - begin
    _merge(heap, block, free=False)
    heap.insert_unmapped(block)
    device.give_back("segment_unmap", begin, end - begin)
    if not block.is_split:  # release_expandable_segment: the whole range is empty
        heap.remove_unmapped(block)


def leave_growing_block(blocks: dict[int, Block], free: list[int], index: int) -> int:
    """Return the index to take instead of the smallest free block that is large enough, where that can grow.

    It is that of the next ones, while they can grow less: growing blocks are left for last (get_free_block).
    """
    block = blocks[free[index] & ADDRESS_MASK]
    if block.next is None or block.next.key >= 0:
        return index
    room = _expandable_size(block)
    while index + 1 < len(free):
        other = _expandable_size(blocks[free[index + 1] & ADDRESS_MASK])
        if other >= room:
            break
        index, room = index + 1, other
    return index


def _expandable_size(block: Block) -> int:
    """Return what a free block could grow to: its size with the unmapped pages behind it."""
    after = block.next
    return block.size + (after.size if after is not None and after.key < 0 else 0)


def _find(heap: Heap, device: DeviceMemory, arena: Arena, size: int) -> Block:
    """Return the first run of free and unmapped blocks with room for `size` (find_expandable_block)."""
    for address in arena.unmapped:
        block = heap.unmapped[address]
        if block.prev is not None and block.prev.key:  # free memory right before it serves too
            block = block.prev
        if _has_room(block, size):
            return block
    space = device.address_space_bytes(arena.page_bytes)
    block = Block(space, heap.new_segment_place(device.place_range(space)), arena)
    heap.insert_unmapped(block)
    return block


def _has_room(block: Block | None, size: int) -> bool:
    while size > 0 and block is not None and block.key:
        size -= block.size
        block = block.next
    return size <= 0


def _map(heap: Heap, device: DeviceMemory, block: Block, size: int) -> bool:
    """Give memory to the first pages of an unmapped block and merge it with free neighbours (map_block)."""
    page = block.arena.page_bytes
    mapped = ceil_div(size, page) * page
    if not device.has(mapped):
        return False
    heap.remove_unmapped(block)
    if mapped < block.size:
        rest = Block(block.size - mapped, heap.part_place(block, block.address + mapped), block.arena)
        block.put_behind(rest)
        block.size = mapped
        heap.insert_unmapped(rest)
    device.obtain("segment_map", block.address, mapped)
    _merge(heap, block, free=True)
    heap.insert_free(block)
    return True


def _merge(heap: Heap, block: Block, *, free: bool) -> None:
    """Let a block absorb its neighbours that are free, or those without memory (try_merge_blocks)."""
    take_out = heap.drop_free if free else heap.remove_unmapped
    before, after = block.prev, block.next
    if before is not None and (before.key > 0 if free else before.key < 0):
        take_out(before)
        block.place = block.place & ~ADDRESS_MASK | before.address
        block.size += before.size
        block.prev = before.prev
        if block.prev is not None:
            block.prev.next = block
    if after is not None and (after.key > 0 if free else after.key < 0):
        take_out(after)
        block.size += after.size
        block.next = after.next
        if block.next is not None:
            block.next.prev = block


def _inner_pages(block: Block) -> tuple[int, int]:
    """Return the first and last page boundary inside a block (ExpandableSegment::unmap)."""
    head = block
    while head.prev is not None:
        head = head.prev
    base, page = head.address, block.arena.page_bytes
    begin = base - (base - block.address) // page * page
    end = base + (block.address + block.size - base) // page * page
    return begin, end
