"""Replaying a recording as it was recorded, segments and all.

The simulation is asked for every recorded allocation and its address is compared; only the place of a fresh
segment, which CUDA chose, is adopted from the recording, so that ties by address fall as they did.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.rounding import segment_size
from actprof.errors import ActprofError
from actprof.out_of_memory import OutOfMemoryError
from actprof.snapshots.releases import find_device
from actprof.snapshots.rewind import Rewound, rewind
from actprof.snapshots.what_if import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actprof.allocator.blocks import SegmentRecord
    from actprof.snapshots.events import Event
    from actprof.snapshots.recording import Recording
    from actprof.snapshots.releases import Device

OBTAINED = ("segment_alloc", "segment_map")
RETURNED = ("segment_free", "segment_unmap")
_OWN_ADDRESSES = 1 << 43  # for segments that were not recorded: below all that CUDA gives on Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Where a replay first differs from its recording."""

    event: int
    action: str
    address: int
    size_bytes: int
    what: str

    def __str__(self) -> str:
        return (
            f"event {self.event} ({self.action} of {self.size_bytes} bytes at {self.address:#x}): {self.what}"
        )


class Start:
    """What a recording began with, found once for all replays of it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    @cached_property
    def _rewound(self) -> Rewound:
        recording = self._recording
        if recording.from_empty:
            return Rewound(segments=(), guessed_blocks=0)
        return rewind(recording.events, recording.final, recording.config)

    @property
    def segments(self) -> tuple[SegmentRecord, ...]:
        """The segments; none if it began empty."""
        return self._rewound.segments

    @property
    def begins(self) -> Mapping[tuple[int, str], int]:
        """Where expandable segments of it begin, if not with their first page that has memory."""
        return self._rewound.begins

    @property
    def guessed_blocks(self) -> int:
        """How many blocks of it have a size that is not certain."""
        return self._rewound.guessed_blocks

    @cached_property
    def device(self) -> Device:
        """What the recording tells of its device."""
        return find_device(self._recording)


class RecordPlayer:
    """Replays a recording as it was recorded, segments and all, and compares.

    Attributes:
        counts, matching: of each action, how many there were and how many were reproduced.
        first_mismatch: where it first differs.
        emptied: events at which the program emptied the cache.
        ooms: the recorded `oom` events.
        highest: (most reserved bytes after an event, that event); the event is -1 at the start.
    """

    def __init__(self, recording: Recording, start: Start | None = None) -> None:
        self.recording = recording
        self.start = Start(recording) if start is None else start
        self.allocator = CachingAllocator(
            recording.config, torch_version=recording.torch_version, place=self._place
        )
        if self.start.segments:
            self.allocator.restore(self.start.segments, self.start.begins)
        self._log: list[tuple[str, int, int]] = []
        self.allocator.device.log = self._log
        self.counts = dict.fromkeys(("alloc", *OBTAINED, *RETURNED), 0)
        self.matching = dict(self.counts)
        self.first_mismatch: Mismatch | None = None
        self.emptied: list[int] = []
        self.ooms: list[Failure] = []
        self.highest = (self.allocator.reserved_bytes, -1)
        self._due: deque[tuple[str, int, int]] = deque()  # recorded, to be reproduced
        self._due_since = 0
        self._is_retry = False
        self._live: dict[int, int] = {}  # recorded address -> simulated address, where they differ
        self._next_own = _OWN_ADDRESSES
        self._own: list[int] = []

    def play(self, begin: int, end: int) -> None:
        """Replay the events from `begin` to `end`."""
        for index, event in enumerate(self.recording.events[begin:end], begin):
            try:
                self._step(index, event)
            except (ActprofError, LookupError) as error:  # a recording that contradicts itself
                self._differ(index, event, f"the simulation failed: {error}")

    def recorded_addresses(self) -> dict[int, int]:
        """Return the recorded address of the blocks in use whose address here is another."""
        return {here: recorded for recorded, here in self._live.items()}

    def finish(self) -> None:
        """Reproduce what was recorded last."""
        last = len(self.recording.events) - 1
        if self._due:
            self._flush(last, self.recording.events[last])

    def _step(self, index: int, event: Event) -> None:
        action, address = event.action, event.address
        if action in self.counts:
            self.counts[action] += 1
        if action == "alloc":
            self._alloc(index, event)
        elif action == "free_requested":
            self._flush(index, event)
            self.allocator.free_requested(self._live.get(address, address))
        elif action == "free_completed":
            self._flush(index, event)
            self.allocator.free_completed(self._live.pop(address, address))
        elif action in self.counts:
            if action in RETURNED and not any(due[0] in RETURNED for due in self._due):
                self._due_since = index
            self._due.append((action, address, event.size_bytes))
            self._is_retry = self._is_retry or index in self.start.device.retried
        elif action == "oom":
            self._run_out(index, event)

    def _alloc(self, index: int, event: Event) -> None:
        if self._is_retry and self._explains_release(event):
            self.allocator.device.capacity_bytes = self._limit()
        else:
            self._flush(index, event)
        address = self.allocator.malloc(event.size_bytes, event.stream)
        self._is_retry, self.allocator.device.capacity_bytes = False, None
        if self._log:
            self.highest = max(self.highest, (self.allocator.reserved_bytes, index), key=lambda item: item[0])
        self._compare(index, event)
        self._forget_own()
        if address == event.address:
            self.matching["alloc"] += 1
            return
        self._live[event.address] = address
        self._differ(index, event, f"the simulation gives {address:#x}")

    def _flush(self, index: int, event: Event) -> None:
        """Reproduce a release of the cache that the program asked for."""
        if any(action in RETURNED for action, _, _ in self._due):
            self.allocator.empty_cache()
            self.emptied.append(self._due_since)
            obtained = [due for due in self._due if due[0] in OBTAINED]
            self._due = deque(due for due in self._due if due[0] in RETURNED)
            self._compare(index, event)
            self._due.extend(obtained)

    def _explains_release(self, event: Event) -> bool:
        """Return whether a full device explains the release before an allocation; else the program released.

        Where more than one release is possible (expandable segments, `max_split_size`), it is tried.
        """
        allocator, config = self.allocator, self.recording.config
        if allocator.can_reuse(event.size_bytes, event.stream):
            return False
        if not config.expandable_segments and config.max_split_size_bytes is None:
            return True
        version = self.recording.torch_version
        trial = CachingAllocator(
            config,
            capacity_bytes=self._limit(),
            total_bytes=1 << 41,
            torch_version=version,
            place=self._place,
        )
        trial.restore(allocator.snapshot())
        log: list[tuple[str, int, int]] = []
        trial.device.log = log
        with suppress(OutOfMemoryError):
            trial.malloc(event.size_bytes, event.stream)
        return log == list(self._due)

    def _limit(self) -> int:
        """Return what the device holds if that is just what was recorded to be obtained.

        With so much the first attempt of a request fails that was recorded to be tried again.
        """
        held = most = self.allocator.device.reserved_bytes
        for action, _, size in self._due:
            held += size if action in OBTAINED else -size
            most = max(most, held)
        return most

    def _run_out(self, index: int, event: Event) -> None:
        """Reproduce an allocation that failed."""
        if self.allocator.can_reuse(event.size_bytes, event.stream):
            self._flush(index, event)
        allocator = self.allocator
        allocator.device.capacity_bytes = self._limit()
        try:
            allocator.free(allocator.malloc(event.size_bytes, event.stream))
        except OutOfMemoryError:
            pass
        else:
            self._differ(index, event, "the simulation does not run out")
        self.ooms.append(
            Failure(
                event=index,
                requested_bytes=event.size_bytes,
                segment_bytes=segment_size(event.size_bytes, allocator.config.large_segment_size_bytes),
                allocated_bytes=allocator.allocated_bytes,
                reserved_bytes=allocator.reserved_bytes,
            )
        )
        self._is_retry, self.allocator.device.capacity_bytes = False, None
        self._compare(index, event)
        self._forget_own()

    def _compare(self, index: int, event: Event) -> None:
        """Compare what the simulation did with segments to what was recorded since the last comparison."""
        if not self._log and not self._due:
            return
        for simulated, recorded in zip(self._log, self._due, strict=False):
            if simulated == recorded:
                self.matching[recorded[0]] += 1
        if self._log != list(self._due):
            self._differ(index, event, f"segments {_short(self._log)} instead of {_short(list(self._due))}")
        self._log.clear()
        self._due.clear()

    def _place(self, size_bytes: int) -> int:
        """Give a fresh segment its recorded address, or one apart from all where none was recorded."""
        for action, address, size in self._due:
            if action == "segment_map" or (action == "segment_alloc" and size == size_bytes):
                return address
        address = self._next_own
        self._next_own += -(-size_bytes >> 25) + 1 << 25
        self._own.append(address)
        return address

    def _forget_own(self) -> None:
        """Forget ranges that got no memory: only when they do, the recording tells where they lie."""
        for address in self._own:
            self.allocator.forget_range(address)
        self._own.clear()

    def _differ(self, index: int, event: Event, what: str) -> None:
        if self.first_mismatch is None:
            self.first_mismatch = Mismatch(
                event=index,
                action=event.action,
                address=event.address,
                size_bytes=event.size_bytes,
                what=what,
            )


def _short(events: list[tuple[str, int, int]]) -> str:
    """Write the first few segment events."""
    shown = ", ".join(f"{action} {address:#x}+{size}" for action, address, size in events[:3])
    return f"[{shown}{', …' if len(events) > 3 else ''}]"
