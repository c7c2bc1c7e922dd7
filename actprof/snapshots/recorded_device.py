"""What a recording tells of the device: when the cache was released and by whom, and how much there was.

A snapshot does not name the cause of a `segment_free`. It is told by its place: a release right before a new
segment and its allocation, or right before an `oom`, was a retry, unless the recording shows elsewhere that
the device still had room for that segment. Any other was the program's empty_cache().
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actprof.allocator.rounding import segment_size
from actprof.snapshots.events import ALLOC, OBTAINED, OOM, RETURNED, Events
from actprof.snapshots.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDevice:
    """What a recording tells of its device.

    Attributes:
        emptied: events with which an empty_cache() of the program begins.
        retried: events with which a release for another attempt begins, whether it helped or not.
        available_bytes: what the process could reserve, where an `oom` or a retry tells; otherwise None.
        available_is_exact: whether an `oom` told it; after a retry it is the least that there was.
    """

    emptied: frozenset[int]
    retried: frozenset[int]
    available_bytes: int | None
    available_is_exact: bool


@dataclass(frozen=True, slots=True)
class _Reserved:
    """The reserved bytes of a recording: at the start, and after each event at `places` that changes them."""

    start: int
    places: NDArray[np.int64]
    after: NDArray[np.int64]

    @property
    def most(self) -> int:
        return int(max(self.start, self.after.max(initial=self.start)))

    def before(self, event: int) -> int:
        index = int(np.searchsorted(self.places, event)) - 1
        return int(self.after[index]) if index >= 0 else self.start


def recorded_device(recording: Recording) -> RecordedDevice:
    """Return what a recording tells of its device."""
    events, reserved = recording.events, _reserved(recording)
    returns, most = events.are(*RETURNED), reserved.most
    emptied: set[int] = set()
    retried: set[int] = set()
    for first, last in _runs(reserved.places):
        places, after = reserved.places[first : last + 1], reserved.after[first : last + 1]
        returned = places[returns[places]]
        if not len(returned):
            continue
        grown = int(after[-1] - after.min())
        follower = _next_action(events, int(places[-1]) + 1)
        needed = reserved.before(int(places[0])) + grown
        is_retry = follower == OOM or (follower == ALLOC and grown > 0 and needed > most)
        (retried if is_retry else emptied).add(int(returned[0]))
    available, exact = _available(recording, reserved, retried=bool(retried))
    return RecordedDevice(
        emptied=frozenset(emptied),
        retried=frozenset(retried),
        available_bytes=available,
        available_is_exact=exact,
    )


def _reserved(recording: Recording) -> _Reserved:
    events = recording.events
    obtained = events.are(*OBTAINED)
    places = np.flatnonzero(obtained | events.are(*RETURNED)).astype(np.int64)
    changes = np.where(obtained[places], events.size_bytes[places], -events.size_bytes[places])
    curve = np.cumsum(changes, dtype=np.int64)
    final = sum(segment.total_bytes for segment in recording.final)
    start = final - int(curve[-1]) if len(curve) else final
    return _Reserved(start, places, curve + start)


def _runs(places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first and last index into `places` of each run of adjacent events."""
    if len(places):
        breaks = np.flatnonzero(np.diff(places) > 1).tolist()
        yield from zip([0, *(index + 1 for index in breaks)], [*breaks, len(places) - 1], strict=True)


def _next_action(events: Events, place: int) -> int | None:
    """Return the next action from `place` on that is the allocator's own."""
    while place < len(events) and events.action[place] > OOM:
        place += 1
    return int(events.action[place]) if place < len(events) else None


def _available(recording: Recording, reserved: _Reserved, *, retried: bool) -> tuple[int | None, bool]:
    events, most = recording.events, reserved.most
    rooms = []
    failures = np.flatnonzero(events.are("oom")).tolist()
    for place in failures:
        free, wanted = int(events.address[place]), int(events.size_bytes[place])
        if segment_size(wanted, recording.config.large_segment_size_bytes) > free:  # or else a cap ended it
            rooms.append(reserved.before(place) + free)
    if rooms:
        return max(most, min(rooms)), True
    return (most, False) if retried or failures else (None, False)
