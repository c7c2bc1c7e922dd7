"""The state in which a recording began, found by undoing its events from the state it ended in.

A recording that began mid-run shows of a block that was freed since only what was requested, not its size.
In the large pool the size is taken to include what follows, where that is too small (1 MiB) to have been
split off.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from actprof.allocator.blocks import BlockRecord, SegmentRecord
from actprof.allocator.rounding import SMALL_BYTES, SMALL_SEGMENT_BYTES, round_size
from actprof.errors import UnknownAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actprof.allocator.config import AllocatorConfig
    from actprof.allocator.recording import Event

_STATES = {"active_allocated": "allocated", "inactive": "free"}  # the others wait for their free to complete


@dataclass(slots=True)
class _Active:
    """A block in use: its size is known only if it lived to the end of the recording."""

    requested: int
    size: int | None
    state: str


@dataclass(slots=True)
class _Range:
    """A segment, or a range of an expandable one, while events are undone."""

    total: int
    stream: int
    pool: str
    is_expandable: bool


def final_segments(data: list[Any], streams: Mapping[int, int]) -> tuple[SegmentRecord, ...]:
    """Return the recorded final state as a snapshot; of free blocks PyTorch's stale request is dropped."""
    segments = (
        SegmentRecord(
            address=address,
            total_bytes=total,
            stream=streams.get(stream, stream),
            pool=pool,
            is_expandable=is_expandable,
            blocks=tuple(
                BlockRecord(
                    address=start,
                    size_bytes=size,
                    requested_bytes=0 if state == "inactive" else requested,
                    state=_STATES.get(state, "pending"),
                )
                for start, size, requested, state in blocks
            ),
        )
        for address, total, stream, pool, is_expandable, blocks in data
    )
    return tuple(sorted(segments, key=lambda segment: segment.address))


def starting_segments(
    events: Sequence[Event], final: Sequence[SegmentRecord], config: AllocatorConfig
) -> tuple[SegmentRecord, ...]:
    """Return the snapshot at the start of `events`, which end in `final`.

    Raises:
        UnknownAnswerError: the events unmap parts of an expandable segment, whose place is then not known.
    """
    ranges = {s.address: _Range(s.total_bytes, s.stream, s.pool, s.is_expandable) for s in final}
    active = {
        block.address: _Active(block.requested_bytes, block.size_bytes, block.state)
        for segment in final
        for block in segment.blocks
        if block.state != "free"
    }
    for event in reversed(events):
        _undo(event, ranges, active)
    if not config.expandable_segments:
        _measure(events, active)
    return _segments(ranges, active, config)


def _undo(event: Event, ranges: dict[int, _Range], active: dict[int, _Active]) -> None:
    address, size = event.address, event.size_bytes
    match event.action:
        case "alloc":
            active.pop(address, None)
        case "free_completed":
            active[address] = _Active(size, None, "pending")
        case "free_requested":
            active[address].state = "allocated"
        case "segment_alloc":
            ranges.pop(address, None)
        case "segment_free":
            pool = "small" if size == SMALL_SEGMENT_BYTES else "large"
            ranges[address] = _Range(size, event.stream, pool, is_expandable=False)
        case "segment_map":
            _unmap(ranges, address, size)
        case "segment_unmap":
            raise UnknownAnswerError("a recording that began mid-run and unmaps memory cannot be rewound")


def _measure(events: Sequence[Event], active: dict[int, _Active]) -> None:
    """Find sizes of large blocks from what was allocated behind them: the first such address is their end.

    An address more than the largest slack (1 MiB) behind says nothing. Small blocks have no slack.
    """
    starts = sorted(active)
    large = (start for start in starts if active[start].requested > SMALL_BYTES)
    unknown = {start for start in large if active[start].size is None}
    for event in events:
        if event.action == "free_completed":
            unknown.discard(event.address)
        elif event.action == "alloc":
            start = starts[bisect_right(starts, event.address) - 1] if starts else 0
            room = event.address - start
            if start in unknown and room > 0:
                unknown.discard(start)
                if room - active[start].requested <= SMALL_BYTES:
                    active[start].size = room


def _unmap(ranges: dict[int, _Range], address: int, size: int) -> None:
    """Take the pages that were mapped off the range that holds them."""
    starts = sorted(ranges)
    start = starts[bisect_right(starts, address) - 1]
    old = ranges.pop(start)
    stop = start + old.total
    if start < address:
        ranges[start] = _Range(address - start, old.stream, old.pool, old.is_expandable)
    if address + size < stop:
        ranges[address + size] = _Range(stop - address - size, old.stream, old.pool, old.is_expandable)


def _segments(
    ranges: Mapping[int, _Range], active: Mapping[int, _Active], config: AllocatorConfig
) -> tuple[SegmentRecord, ...]:
    """Tile each range with its active blocks and free blocks between them."""
    starts = sorted(ranges)
    inside: dict[int, list[int]] = {start: [] for start in starts}
    for address in sorted(active):
        inside[starts[bisect_right(starts, address) - 1]].append(address)
    return tuple(
        SegmentRecord(
            address=start,
            total_bytes=ranges[start].total,
            stream=ranges[start].stream,
            pool=ranges[start].pool,
            is_expandable=ranges[start].is_expandable,
            blocks=tuple(_tile(start, ranges[start], inside[start], active, config)),
        )
        for start in starts
    )


def _tile(
    start: int, span: _Range, addresses: list[int], active: Mapping[int, _Active], config: AllocatorConfig
) -> list[BlockRecord]:
    blocks: list[BlockRecord] = []
    position, end = start, start + span.total
    for address, stop in pairwise([*addresses, end]):
        if position < address:
            blocks.append(_free(position, address - position))
        block = active[address]
        size = block.size or _likely_size(block.requested, stop - address, span, config)
        blocks.append(
            BlockRecord(address=address, size_bytes=size, requested_bytes=block.requested, state=block.state)
        )
        position = address + size
    if position < end:
        blocks.append(_free(position, end - position))
    return blocks


def _likely_size(requested: int, room: int, span: _Range, config: AllocatorConfig) -> int:
    """Return the rounded request, with the slack behind it where that was too small to be split off."""
    size = round_size(requested, config.roundup_power2_divisions)
    if span.pool == "large" and not config.expandable_segments and room - size <= SMALL_BYTES:
        return room
    return size


def _free(address: int, size: int) -> BlockRecord:
    return BlockRecord(address=address, size_bytes=size, requested_bytes=0, state="free")
