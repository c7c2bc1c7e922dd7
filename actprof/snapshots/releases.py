"""What a recording tells of the device: when the cache was released and by whom, and how much there was.

A snapshot does not name the cause of a `segment_free`. It is told by its place: a release right before a new
segment and its allocation, or right before an `oom`, was a retry, unless the recording shows elsewhere that
the device still had room for that segment. Any other was the program's empty_cache().
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actprof.allocator.rounding import segment_size
from actprof.snapshots.events import (
    ALLOC,
    OOM,
    SEGMENT_ALLOC,
    SEGMENT_FREE,
    SEGMENT_MAP,
    SEGMENT_UNMAP,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actprof.snapshots.events import Events
    from actprof.snapshots.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a recording tells of its device.

    Attributes:
        start_reserved_bytes: what was reserved when it began.
        peak_reserved_bytes: the most that was.
        emptied: events with which an empty_cache() of the program begins.
        retried: events with which a release for another attempt begins, whether it helped or not.
        available_bytes: what the process could reserve, where an `oom` or a retry tells; otherwise None.
        available_is_exact: whether an `oom` told it; after a retry it is the least that there was.
    """

    start_reserved_bytes: int
    peak_reserved_bytes: int
    emptied: frozenset[int]
    retried: frozenset[int]
    available_bytes: int | None
    available_is_exact: bool


def find_device(recording: Recording) -> Device:
    """Return what a recording tells of its device."""
    events = recording.events
    places, reserved, start = _reserved_curve(recording)
    most = int(max(start, reserved.max(initial=start)))
    emptied: set[int] = set()
    retried: set[int] = set()
    for first, last in _groups(events, places):
        before = start if first == 0 else int(reserved[first - 1])
        begin = _first_returned(events, places[first : last + 1])
        if begin is None:
            continue
        grown = int(reserved[last]) - int(reserved[first : last + 1].min())
        follower = _next_action(events, int(places[last]) + 1)
        is_retry = follower == OOM or (follower == ALLOC and grown > 0 and before + grown > most)
        (retried if is_retry else emptied).add(begin)
    available, exact = _available(recording, places, reserved, start=start, most=most, retried=bool(retried))
    return Device(
        start_reserved_bytes=start,
        peak_reserved_bytes=most,
        emptied=frozenset(emptied),
        retried=frozenset(retried),
        available_bytes=available,
        available_is_exact=exact,
    )


def _reserved_curve(recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the events that change the reserved bytes, those after each of them, and those at the start."""
    events = recording.events
    obtained = (events.action == SEGMENT_ALLOC) | (events.action == SEGMENT_MAP)
    returned = (events.action == SEGMENT_FREE) | (events.action == SEGMENT_UNMAP)
    places = np.flatnonzero(obtained | returned).astype(np.int64)
    changes = np.where(obtained[places], events.size_bytes[places], -events.size_bytes[places])
    curve = np.cumsum(changes, dtype=np.int64)
    final = sum(segment.total_bytes for segment in recording.final)
    start = final - int(curve[-1]) if len(curve) else final
    return places, curve + start, start


def _groups(events: Events, places: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first and last index into `places` of each run of adjacent events that returns memory."""
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > 1)
    firsts, lasts = [0, *(breaks + 1).tolist()], [*breaks.tolist(), len(places) - 1]
    actions = events.action[places]
    returned = np.cumsum((actions == SEGMENT_FREE) | (actions == SEGMENT_UNMAP))
    counts = [
        int(returned[last]) - (int(returned[first - 1]) if first else 0)
        for first, last in zip(firsts, lasts, strict=True)
    ]
    return [pair for pair, count in zip(zip(firsts, lasts, strict=True), counts, strict=True) if count]


def _first_returned(events: Events, group: NDArray[np.int64]) -> int | None:
    for place in group.tolist():
        if events.action[place] in {SEGMENT_FREE, SEGMENT_UNMAP}:
            return int(place)
    return None


def _next_action(events: Events, place: int) -> int | None:
    """Return the next action from `place` on that is the allocator's own."""
    while place < len(events) and events.action[place] > OOM:
        place += 1
    return int(events.action[place]) if place < len(events) else None


def _available(
    recording: Recording,
    places: NDArray[np.int64],
    reserved: NDArray[np.int64],
    *,
    start: int,
    most: int,
    retried: bool,
) -> tuple[int | None, bool]:
    events, config = recording.events, recording.config
    rooms = []
    for place in np.flatnonzero(events.action == OOM).tolist():
        index = int(np.searchsorted(places, place)) - 1
        held = int(reserved[index]) if index >= 0 else start
        free, wanted = int(events.address[place]), int(events.size_bytes[place])
        if segment_size(wanted, config.large_segment_size_bytes) > free:  # or else a cap ended it
            rooms.append(held + free)
    if rooms:
        return max(most, min(rooms)), True
    return (most, False) if retried or events.count(OOM) else (None, False)
