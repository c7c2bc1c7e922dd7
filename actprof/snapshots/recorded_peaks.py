"""The peaks that a recording itself shows, without simulating anything.

Reserved and requested bytes stand in the events. Allocated bytes count whole blocks, whose size is not
recorded: it follows from the request and from the place of the next block, see `rewind.block_size`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from actprof.allocator.rounding import SMALL_BYTES, round_size
from actprof.snapshots.recording import Peaks
from actprof.snapshots.rewind import block_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actprof.allocator.blocks import SegmentRecord
    from actprof.allocator.config import AllocatorConfig
    from actprof.snapshots.events import Event
    from actprof.snapshots.recording import Recording


class Ledger:
    """What is in use according to a recording, event by event; it began with `start`."""

    def __init__(self, config: AllocatorConfig, start: Iterable[SegmentRecord]) -> None:
        self._config = config
        self._has_slack = not config.expandable_segments
        self._segments: dict[int, int] = {}
        self._starts: list[int] = []  # of segments
        self._used: list[int] = []  # addresses in use, of large native blocks
        self._blocks: dict[int, tuple[int, int]] = {}  # address -> block size, requested
        self._allocated = self._requested = self._reserved = 0
        self._most = [0, 0, 0]
        for segment in start:
            self._obtain(segment.address, segment.total_bytes)
            for block in segment.blocks:
                if block.state != "free":
                    self._add(block.address, block.size_bytes, block.requested_bytes)
                    self._allocated -= block.size_bytes if block.state == "pending" else 0
        self._note()

    @property
    def peaks(self) -> Peaks:
        """The most so far."""
        allocated, requested, reserved = self._most
        return Peaks(allocated_bytes=allocated, requested_bytes=requested, reserved_bytes=reserved)

    def step(self, event: Event) -> None:
        """Book one event."""
        action, address, size = event.action, event.address, event.size_bytes
        if action == "alloc":
            self._add(address, self._size(address, size), size)
            self._note()
        elif action == "free_requested":
            self._allocated -= self._blocks.get(address, (0, 0))[0]
        elif action == "free_completed":
            self._requested -= self._blocks.pop(address, (0, 0))[1]
            place = bisect_left(self._used, address)
            if place < len(self._used) and self._used[place] == address:
                del self._used[place]
        elif action in {"segment_alloc", "segment_map"}:
            self._obtain(address, size)
            self._note()
        elif action in {"segment_free", "segment_unmap"}:
            self._give_back(address, size)

    def _add(self, address: int, size: int, requested: int) -> None:
        self._blocks[address] = size, requested
        self._allocated += size
        self._requested += requested
        if self._has_slack:
            insort(self._used, address)

    def _size(self, address: int, requested: int) -> int:
        config = self._config
        is_small = round_size(requested, config.roundup_power2_divisions) <= SMALL_BYTES
        room = -1
        if self._has_slack and not is_small and self._starts:
            start = self._starts[bisect_right(self._starts, address) - 1]
            room = start + self._segments[start] - address
            place = bisect_right(self._used, address)
            if place < len(self._used):
                room = min(room, self._used[place] - address)
        known = self._has_slack and room > 0
        return block_size(requested, room, is_small=is_small or not known, config=config)

    def _obtain(self, address: int, size: int) -> None:
        self._reserved += size
        if self._has_slack:
            self._segments[address] = size
            insort(self._starts, address)

    def _give_back(self, address: int, size: int) -> None:
        self._reserved -= size
        if self._segments.pop(address, None) is not None:
            del self._starts[bisect_left(self._starts, address)]

    def _note(self) -> None:
        now = self._allocated, self._requested, self._reserved
        for index, value in enumerate(now):
            self._most[index] = max(self._most[index], value)


def find_peaks(recording: Recording, start: Iterable[SegmentRecord]) -> Peaks:
    """Return the peaks that a recording shows, which began with `start`."""
    ledger = Ledger(recording.config, start)
    for event in recording.events:
        ledger.step(event)
    return ledger.peaks
