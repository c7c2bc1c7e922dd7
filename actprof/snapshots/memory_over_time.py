"""The memory of a replay over time: its peaks, its course in a fixed number of stretches, who holds the peak.

The memory that this takes does not grow with the number of events: the events are replayed in stretches, and
the allocator itself keeps the highest values of each. To look at one moment the replay is run once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.allocator.blocks import SegmentRecord
from actprof.allocator.caching import CachingAllocator
from actprof.snapshots.recording import Recording
from actprof.units import ceil_div

STRETCHES = 1200
_AT_ONCE = 4096  # events that are lists at a time
BEFORE_RECORDING = "allocated before the recording began"
NO_FRAME = "no stack recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """The request of a recording that found no memory.

    Attributes:
        event: its number in the recording; -1 if even what was held at the start does not fit.
        requested_bytes: what was asked for (recorded: rounded to a block).
        segment_bytes: what PyTorch says that it tried to allocate.
        allocated_bytes, reserved_bytes: when it failed, the cache released.
        ended: whether the run ended there; a recorded program may go on.
    """

    event: int
    requested_bytes: int
    segment_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    frame: str
    ended: bool


class Replay:
    """A recording on its way through an allocator.

    Attributes:
        allocator: in the state after the last event that was replayed.
        played: how many events were replayed.
        highest: (most reserved bytes after an event, that event); the event is -1 at the start.
        oom: the request that found no memory, the last one where there are several.
        passed_ooms: recorded `oom` events whose request was served here.
        obtained, returned: segments (or ranges of pages) from and to the device.
        releases: calls of empty_cache() by the program.
    """

    def __init__(self, recording: Recording, allocator: CachingAllocator) -> None:
        self.recording = recording
        self.allocator = allocator
        self.oom: RefusedRequest | None = None
        self.played = self.passed_ooms = self.obtained = self.returned = self.releases = 0
        self.highest = (0, -1)
        self._live: dict[int, int] = {}  # recorded address -> simulated address
        self._log: list[tuple[str, int, int]] = []  # what the device gave and got since it was read last

    def _begin(self) -> None:
        """Start to watch the device; what it gave before is what the recording began with."""
        self.allocator.device.log = self._log
        self.highest = (self.allocator.reserved_bytes, -1)

    def play(self, begin: int, end: int) -> None:
        """Replay the events from `begin` to `end`."""
        raise NotImplementedError

    def finish(self) -> None:
        """Do what is left when all events are replayed."""

    def _refuse(self, event: int, requested_bytes: int, segment_bytes: int) -> None:
        """Note the request that found no memory at this moment."""
        self.oom = RefusedRequest(
            event=event,
            requested_bytes=requested_bytes,
            segment_bytes=segment_bytes,
            allocated_bytes=self.allocator.allocated_bytes,
            reserved_bytes=self.allocator.reserved_bytes,
            frame=frame_text(self.recording, event if event >= 0 else None),
            ended=True,
        )


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
    """The state after one event (-1: at the start).

    Attributes:
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


def watch(replay: Replay) -> Course:
    """Replay everything and return its course."""
    events, allocator = len(replay.recording.events), replay.allocator
    stretch = max(1, ceil_div(events, STRETCHES))
    starts = list(range(0, events, stretch)) or [0]
    rows = []
    for start in starts:
        allocator.reset_peaks()
        _play(replay, start, min(start + stretch, events))
        rows.append(
            (allocator.peak_allocated_bytes, allocator.peak_requested_bytes, allocator.peak_reserved_bytes)
        )
    allocated, requested, reserved = np.array(rows, dtype=np.int64).T
    return Course(
        first_event=np.array(starts, dtype=np.int64),
        allocated=allocated,
        requested=requested,
        reserved=reserved,
    )


def look_at_peak(make: Callable[[], Replay], course: Course, highest: int) -> Moment:
    """Return the moment after which most is reserved, for the first time: that after the event `highest`.

    If that was so from the start (-1), the moment is the one at which most is allocated; `make` makes the
    replay that gave `course` anew to find it.
    """
    if highest >= 0:
        return look_after(make, highest)
    index = int(course.allocated.argmax())
    starts = [*course.first_event.tolist(), None]
    start, stop = starts[index], starts[index + 1]
    replay = make()
    _play(replay, 0, start)
    most, event = replay.allocator.allocated_bytes, start - 1
    for place in range(start, len(replay.recording.events) if stop is None else stop):
        replay.play(place, place + 1)
        if replay.allocator.allocated_bytes > most:
            most, event = replay.allocator.allocated_bytes, place
    return look_after(make, event)


def look_after(make: Callable[[], Replay], event: int) -> Moment:
    """Return the moment after an event; that at the start for -1."""
    replay = make()
    _play(replay, 0, event + 1)
    allocator = replay.allocator
    segments = allocator.snapshot()
    blocks = [block for segment in segments for block in segment.blocks]
    used = {block.address: block.size_bytes for block in blocks if block.state == "allocated"}
    owners = _find_owners(replay, event, used)
    names = {address: frame_text(replay.recording, owners.get(address)) for address in used}
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


def _play(replay: Replay, begin: int, end: int) -> None:
    for start in range(begin, end, _AT_ONCE):
        replay.play(start, min(start + _AT_ONCE, end))


def _find_owners(replay: Replay, event: int, used: dict[int, int]) -> dict[int, int]:
    """Return the event that asked for each block in use; blocks from before the recording are left out."""
    recorded = {here: there for there, here in replay._live.items()}  # at least where they differ
    wanted = {recorded.get(address, address): address for address in used}
    part = replay.recording.events[: event + 1]
    places = np.flatnonzero(part.are("alloc"))
    addresses = np.fromiter(wanted, dtype=np.int64, count=len(wanted))
    places = places[np.isin(part.address[places], addresses)]
    found = dict(zip(part.address[places].tolist(), places.tolist(), strict=True))  # the last one stays
    return {here: found[there] for there, here in wanted.items() if there in found}


def _sum_up(used: dict[int, int], names: dict[int, str]) -> tuple[Holder, ...]:
    blocks: dict[str, list[int]] = defaultdict(list)
    for address, size in used.items():
        blocks[names[address]].append(size)
    rows = (Holder(frame=name, size_bytes=sum(sizes), blocks=len(sizes)) for name, sizes in blocks.items())
    return tuple(sorted(rows, key=lambda row: (-row.size_bytes, row.frame)))


def frame_text(recording: Recording, event: int | None) -> str:
    """Return the Python frame that asked at an event, in words."""
    if event is None:
        return BEFORE_RECORDING
    frame = recording.stacks.asking_frame(int(recording.events.stack[event]))
    return NO_FRAME if frame is None else str(frame)
