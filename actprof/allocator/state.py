"""Taking a snapshot of an allocator's blocks, and putting a fresh allocator into the state of one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import pairwise

from actprof.allocator.blocks import Block, BlockRecord, Heap, SegmentRecord
from actprof.allocator.device_memory import DeviceMemory


def take_snapshot(heap: Heap, pending: Container[int], *, expandable: bool) -> tuple[SegmentRecord, ...]:
    """Return all segments with their blocks, by address (DeviceCachingAllocator::snapshot).

    Pending are the addresses whose free was requested but not completed.
    """
    heads = (block for block in heap.blocks.values() if block.prev is None or block.prev.key < 0)
    return tuple(
        SegmentRecord(
            address=head.address,
            total_bytes=sum(block.size for block in _run(head)),
            stream=head.arena.stream,
            pool="small" if head.arena.is_small else "large",
            is_expandable=expandable,
            blocks=tuple(_record(block, pending) for block in _run(head)),
        )
        for head in sorted(heads, key=lambda block: block.address)
    )


def restore_segments(
    heap: Heap, device: DeviceMemory, segments: Iterable[SegmentRecord], begins: Mapping[tuple[int, str], int]
) -> None:
    """Build the blocks of `segments` in an empty heap and book their memory.

    The expandable ranges of one pool and stream become one segment, which begins with the lowest of them,
    or where `begins` says by stream and pool.
    """
    ranges: dict[tuple[int, str], list[Block]] = {}
    for segment in sorted(segments, key=lambda segment: segment.address):
        head = _build(heap, segment)
        event = "segment_map" if segment.is_expandable else "segment_alloc"
        device.obtain(event, segment.address, segment.total_bytes)
        device.avoid(segment.address, segment.address + segment.total_bytes)
        if segment.is_expandable:
            ranges.setdefault((segment.stream, segment.pool), []).append(head)
    for arena, heads in ranges.items():
        _join(heap, device, heads)
        if arena in begins:
            head, begin = heads[0], begins[arena]
            gap = Block(head.address - begin, heap.part_place(head, begin), head.arena)
            head.put_before(gap)
            heap.insert_unmapped(gap)


def _run(head: Block) -> Iterator[Block]:
    """Yield the blocks of a segment from `head` on, as far as they have memory."""
    block: Block | None = head
    while block is not None and block.key >= 0:
        yield block
        block = block.next


def _record(block: Block, pending: Container[int]) -> BlockRecord:
    state = "free" if block.key else "pending" if block.address in pending else "allocated"
    requested = 0 if block.key else block.requested
    return BlockRecord(block.address, block.size, requested, state)


def _build(heap: Heap, segment: SegmentRecord) -> Block:
    """Return the first block of a segment, with the others behind it."""
    arena = heap.arena(segment.stream, is_small=segment.pool == "small")
    first = heap.new_segment_place(segment.address)
    blocks = []
    for record in segment.blocks:
        block = Block(record.size_bytes, first + record.address - segment.address, arena)
        block.requested = record.requested_bytes
        block.born = 0
        blocks.append(block)
        heap.blocks[record.address] = block
        if record.state == "free":
            heap.insert_free(block)
    for before, after in pairwise(blocks):
        before.next, after.prev = after, before
    return blocks[0]


def _join(heap: Heap, device: DeviceMemory, heads: list[Block]) -> None:
    """Put unmapped blocks between the ranges of an expandable segment and behind the last."""
    space = device.address_space_bytes(heads[0].arena.page_bytes)
    stops = [head.address for head in heads[1:]] + [heads[0].address + space]
    gaps = []
    for head, stop in zip(heads, stops, strict=True):
        *_, last = _run(head)
        address = last.address + last.size
        device.avoid(address, stop)
        gap = Block(stop - address, heap.part_place(last, address), last.arena, 0, last)
        last.next = gap
        heap.insert_unmapped(gap)
        gaps.append(gap)
    for gap, head in zip(gaps, heads[1:], strict=False):
        gap.next, head.prev = head, gap
