"""The state in which a recording began, found by undoing its events from the state it ended in.

A recording that began mid-run shows of a block that was freed since only what was requested, not its size.
In the large pool the size is taken to include what follows, where that is too small (1 MiB) to have been
split off. Where a recording contradicts itself the events that do not fit are passed over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from actprof.allocator.blocks import BlockRecord, SegmentRecord
from actprof.allocator.config import AllocatorConfig
from actprof.allocator.rounding import LARGE_SEGMENT_BYTES, SMALL_BYTES, SMALL_SEGMENT_BYTES, round_size
from actprof.snapshots.events import Event, Events
from actprof.snapshots.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The state in which a recording began.

    Attributes:
        segments: with their blocks, by address; none if it began empty.
        guessed_blocks: blocks whose size is not certain: freed since, and free memory behind them, so that
            up to 1 MiB of it may have been theirs.
        begins: where expandable segments begin whose first pages had no memory, by stream and pool.
    """

    segments: tuple[SegmentRecord, ...] = ()
    guessed_blocks: int = 0
    begins: Mapping[tuple[int, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Active:
    """A block in use: its size is known only if it lived to the end of the recording."""

    requested: int
    size: int | None
    state: str


def find_start(recording: Recording) -> Start:
    """Return the state that a recording began in, and how sure it is."""
    if recording.from_empty:
        return Start()
    events, config = recording.events, recording.config
    ranges = {segment.address: segment for segment in recording.final}
    active = {
        block.address: _Active(block.requested_bytes, block.size_bytes, block.state)
        for segment in recording.final
        for block in segment.blocks
        if block.state != "free"
    }
    for event in reversed(events):
        _undo(event, ranges, active)
    if not config.expandable_segments:
        _measure(events, active, config)
    segments = _segments(ranges, active, config)
    begins = _find_begins(events, segments) if config.expandable_segments else {}
    return Start(segments=segments, guessed_blocks=_count_guessed(segments, active), begins=begins)


def _find_begins(events: Events, segments: Sequence[SegmentRecord]) -> dict[tuple[int, str], int]:
    """Return the lowest address that gets memory later, where it belongs to the first segment of its arena.

    It does unless the segment of another arena lies between: address ranges do not overlap.
    """
    owners = {segment.address: (segment.stream, segment.pool) for segment in segments}
    lowest: dict[tuple[int, str], int] = {}
    for segment in segments:
        lowest.setdefault((segment.stream, segment.pool), segment.address)
    for event in events:
        if event.action == "segment_map":
            owners[event.address] = event.stream, _pool_of(event.size_bytes)
    begins = {}
    for arena, first in lowest.items():
        for place in sorted((place for place in owners if place < first), reverse=True):
            if owners[place] != arena:
                break
            begins[arena] = place
    return begins


def _undo(event: Event, ranges: dict[int, SegmentRecord], active: dict[int, _Active]) -> None:
    address, size = event.address, event.size_bytes
    match event.action:
        case "alloc":
            active.pop(address, None)
        case "free_completed":
            active[address] = _Active(size, None, "pending")
        case "free_requested":
            if address in active:
                active[address].state = "allocated"
        case "segment_alloc":
            ranges.pop(address, None)
        case "segment_free":
            pool = "small" if size == SMALL_SEGMENT_BYTES else "large"
            ranges[address] = _range(address, size, event.stream, pool, is_expandable=False)
        case "segment_map":
            _unmap(ranges, address, size)
        case "segment_unmap":
            _map(ranges, address, size, event.stream)


def _range(address: int, size: int, stream: int, pool: str, *, is_expandable: bool) -> SegmentRecord:
    """Return a segment, or a range of an expandable one, before its blocks are known."""
    return SegmentRecord(
        address=address, total_bytes=size, stream=stream, pool=pool, is_expandable=is_expandable, blocks=()
    )


def _measure(events: Events, active: dict[int, _Active], config: AllocatorConfig) -> None:
    """Find sizes of large blocks from what was allocated behind them: the first such address is their end.

    An address more than the largest slack (1 MiB) behind says nothing. Small blocks have no slack.
    """
    starts = sorted(active)
    divisions = config.roundup_power2_divisions
    large = (start for start in starts if round_size(active[start].requested, divisions) > SMALL_BYTES)
    unknown = {start for start in large if active[start].size is None}
    for event in events:
        if event.action == "free_completed":
            unknown.discard(event.address)
        elif event.action == "alloc":
            start = starts[bisect_right(starts, event.address) - 1] if starts else 0
            room = event.address - start
            if start in unknown and room > 0:
                unknown.discard(start)
                if room - round_size(active[start].requested, divisions) <= SMALL_BYTES:
                    active[start].size = room


def _unmap(ranges: dict[int, SegmentRecord], address: int, size: int) -> None:
    """Take the pages that were mapped off the range that holds them."""
    starts = sorted(ranges)
    start = starts[bisect_right(starts, address) - 1] if starts else address
    old = ranges.pop(start, None)
    if old is None:
        return
    end, stop = address + size, start + old.total_bytes
    if start < address:
        ranges[start] = replace(old, total_bytes=address - start)
    if end < stop:
        ranges[end] = replace(old, address=end, total_bytes=stop - end)


def _map(ranges: dict[int, SegmentRecord], address: int, size: int, stream: int) -> None:
    """Put the pages that were unmapped back, joined with what lies right before and behind them."""
    pool = _pool_of(size)
    for start, old in list(ranges.items()):
        if not old.is_expandable or old.stream != stream:
            continue
        if start + old.total_bytes == address or start == address + size:
            pool = old.pool
            address, size = min(start, address), size + old.total_bytes
            del ranges[start]
    ranges[address] = _range(address, size, stream, pool, is_expandable=True)


def _pool_of(mapped_bytes: int) -> str:
    """Return the pool whose pages these are: large ones have 20 MiB, small ones 2 MiB."""
    return "large" if mapped_bytes % LARGE_SEGMENT_BYTES == 0 else "small"


def _segments(
    ranges: Mapping[int, SegmentRecord], active: Mapping[int, _Active], config: AllocatorConfig
) -> tuple[SegmentRecord, ...]:
    """Tile each range with its active blocks and free blocks between them."""
    addresses = sorted(active)
    segments = []
    for start, span in sorted(ranges.items()):
        first, stop = (bisect_left(addresses, end) for end in (start, start + span.total_bytes))
        inside = {address: active[address] for address in addresses[first:stop]}
        segments.append(replace(span, blocks=tuple(_tile(span, inside, config))))
    return tuple(segments)


def _count_guessed(segments: Sequence[SegmentRecord], active: Mapping[int, _Active]) -> int:
    return sum(
        before.state != "free" and after.state == "free" and active[before.address].size is None
        for segment in segments
        if segment.pool == "large" and not segment.is_expandable
        for before, after in pairwise(segment.blocks)
    )


def _tile(
    span: SegmentRecord, inside: Mapping[int, _Active], config: AllocatorConfig
) -> Iterator[BlockRecord]:
    position, end = span.address, span.address + span.total_bytes
    for address, stop in pairwise([*inside, end]):
        if position < address:
            yield BlockRecord(position, address - position, 0, "free")
        block = inside[address]
        size = block.size or block_size(
            block.requested, stop - address, is_small=span.pool == "small", config=config
        )
        yield BlockRecord(address, size, block.requested, block.state)
        position = address + size
    if position < end:
        yield BlockRecord(position, end - position, 0, "free")


def block_size(requested: int, room: int, *, is_small: bool, config: AllocatorConfig) -> int:
    """Return the size of a block with `room` bytes up to the next block in use or the end of its segment.

    It is the rounded request, with what is behind it where that was too little to be split off.
    """
    size = round_size(requested, config.roundup_power2_divisions)
    if is_small or config.expandable_segments:
        return size
    never_split = config.max_split_size_bytes is not None and size >= config.max_split_size_bytes
    return room if never_split or 0 <= room - size <= SMALL_BYTES else size
