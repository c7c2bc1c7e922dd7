"""Watching a replay: its peaks, its course in a fixed number of steps, and who holds the memory at its peak.

The memory that this takes does not grow with the number of events: the events are replayed in stretches, and
the allocator itself keeps the highest values of each. To look at one moment the replay is run once more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from actprof.snapshots.events import ALLOC, NO_STACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from actprof.allocator.blocks import SegmentRecord
    from actprof.allocator.caching import CachingAllocator
    from actprof.snapshots.recording import Recording

STRETCHES = 1200
_AT_ONCE = 4096  # events that are lists at a time
BEFORE_RECORDING = "allocated before the recording began"
NO_FRAME = "no stack recorded"


class Player(Protocol):
    """Something that replays a recording."""

    allocator: CachingAllocator
    highest: tuple[int, int]

    def play(self, begin: int, end: int) -> None:
        """Replay the events from `begin` to `end`."""

    def recorded_addresses(self) -> dict[int, int]:
        """Return recorded addresses by simulated ones, at least where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """The highest values of each stretch of events; all of shape (stretches,)."""

    first_event: NDArray[np.int64]
    allocated: NDArray[np.int64]
    requested: NDArray[np.int64]
    reserved: NDArray[np.int64]

    @property
    def peaks(self) -> tuple[int, int, int]:
        """The highest allocated, requested and reserved bytes."""
        return int(self.allocated.max()), int(self.requested.max()), int(self.reserved.max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Blocks that one frame asked for."""

    frame: str
    size_bytes: int
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The state after one event.

    Attributes:
        event: its number; -1 at the start.
        allocated_bytes, requested_bytes, reserved_bytes: at that moment.
        inactive_split_bytes: free parts of segments that are in use elsewhere.
        largest_free_bytes: the largest free block.
        segments: with their blocks, by address.
        owner_names: address of each block in use to the frame that asked for it.
        holders: who holds the most, first.
    """

    event: int
    allocated_bytes: int
    requested_bytes: int
    reserved_bytes: int
    inactive_split_bytes: int
    largest_free_bytes: int
    segments: tuple[SegmentRecord, ...]
    owner_names: dict[int, str]
    holders: tuple[Holder, ...]


def watch(player: Player, events: int) -> Course:
    """Replay everything and return its course."""
    stretch = max(1, -(-events // STRETCHES))
    starts = list(range(0, events, stretch)) or [0]
    rows = []
    for start in starts:
        player.allocator.reset_peaks()
        _play(player, start, min(start + stretch, events))
        allocator = player.allocator
        rows.append(
            (allocator.peak_allocated_bytes, allocator.peak_requested_bytes, allocator.peak_reserved_bytes)
        )
    table = np.array(rows, dtype=np.int64)
    return Course(
        first_event=np.array(starts, dtype=np.int64),
        allocated=table[:, 0],
        requested=table[:, 1],
        reserved=table[:, 2],
    )


def look_at_peak(
    make: Callable[[], Player], recording: Recording, course: Course, *, highest: int, end: int
) -> Moment:
    """Return the moment after which most is reserved, for the first time.

    Args:
        make: makes the player that gave `course`, anew.
        recording: what it replays.
        course: what `watch` returned.
        highest: the event after which most was reserved; -1 if that was so from the start. Then the moment
            is the one at which most is allocated.
        end: the event before which the replay ended.
    """
    player = make()
    if highest >= 0:
        _play(player, 0, highest + 1)
        return _look(player, recording, highest)
    index = int(course.allocated.argmax())
    start = int(course.first_event[index])
    stop = min(int(course.first_event[index + 1]) if index + 1 < len(course.first_event) else end, end)
    _play(player, 0, start)
    most, event = player.allocator.allocated_bytes, start - 1
    for place in range(start, stop):
        player.play(place, place + 1)
        if player.allocator.allocated_bytes > most:
            most, event = player.allocator.allocated_bytes, place
    return look_after(make, recording, event)


def look_after(make: Callable[[], Player], recording: Recording, event: int) -> Moment:
    """Return the moment after an event; that at the start for -1."""
    player = make()
    _play(player, 0, event + 1)
    return _look(player, recording, event)


def _play(player: Player, begin: int, end: int) -> None:
    for start in range(begin, end, _AT_ONCE):
        player.play(start, min(start + _AT_ONCE, end))


def _look(player: Player, recording: Recording, event: int) -> Moment:
    allocator = player.allocator
    segments = allocator.snapshot()
    blocks = [block for segment in segments for block in segment.blocks]
    used = {block.address: block.size_bytes for block in blocks if block.state == "allocated"}
    owners = _find_owners(player, recording, event, used)
    names = {address: frame_text(recording, owners.get(address)) for address in used}
    return Moment(
        event=event,
        allocated_bytes=allocator.allocated_bytes,
        requested_bytes=allocator.requested_bytes,
        reserved_bytes=allocator.reserved_bytes,
        inactive_split_bytes=allocator.inactive_split_bytes,
        largest_free_bytes=max((block.size_bytes for block in blocks if block.state == "free"), default=0),
        segments=segments,
        owner_names=names,
        holders=_sum_up(used, names),
    )


def _find_owners(player: Player, recording: Recording, event: int, used: dict[int, int]) -> dict[int, int]:
    """Return the event that asked for each block in use; blocks from before the recording are left out."""
    recorded = player.recorded_addresses()
    wanted = {recorded.get(address, address): address for address in used}
    part = recording.events[: event + 1]
    places = np.flatnonzero(part.action == ALLOC)
    addresses = np.fromiter(wanted, dtype=np.int64, count=len(wanted))
    places = places[np.isin(part.address[places], addresses)]
    found = dict(zip(part.address[places].tolist(), places.tolist(), strict=True))  # the last one stays
    return {here: found[there] for there, here in wanted.items() if there in found}


def _sum_up(used: dict[int, int], names: dict[int, str]) -> tuple[Holder, ...]:
    sizes: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    for address, size in used.items():
        name = names[address]
        sizes[name] += size
        counts[name] += 1
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    return tuple(Holder(frame=name, size_bytes=sizes[name], blocks=counts[name]) for name in order)


def frame_text(recording: Recording, event: int | None) -> str:
    """Return the Python frame that asked at an event, in words."""
    if event is None:
        return BEFORE_RECORDING
    stack = int(recording.events.stack[event])
    frame = None if stack == NO_STACK else recording.stacks.asking_frame(stack)
    return NO_FRAME if frame is None else str(frame)
