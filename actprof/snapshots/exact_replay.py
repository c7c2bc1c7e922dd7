"""Replaying a recording as it was recorded, segments and all.

The simulation is asked for every recorded allocation and its address is compared; only the place of a fresh
segment, which CUDA chose, is adopted from the recording, so that ties by address fall as they did.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.rounding import segment_size
from actprof.errors import ActprofError
from actprof.out_of_memory import OutOfMemoryError
from actprof.snapshots.events import OBTAINED, RETURNED, Event
from actprof.snapshots.memory_over_time import Replay
from actprof.snapshots.recorded_device import RecordedDevice, recorded_device
from actprof.snapshots.recording import Recording
from actprof.snapshots.rewind import Start, find_start

_OWN_ADDRESSES = 1 << 43  # for segments that were not recorded: below all that CUDA gives on Linux


@dataclass(frozen=True, slots=True)
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


class ExactReplay(Replay):
    """Replays a recording as it was recorded, segments and all, and compares.

    Args:
        recording: what to replay.
        start: the state that it began in, if that has been found already.
        device: what it tells of its device, likewise.

    Attributes:
        counts, matching: of each action, how many there were and how many were reproduced.
        first_mismatch: where it first differs.
        emptied: events at which the program emptied the cache.
    """

    def __init__(
        self, recording: Recording, start: Start | None = None, device: RecordedDevice | None = None
    ) -> None:
        allocator = CachingAllocator(
            recording.config, torch_version=recording.torch_version, place=self._place
        )
        super().__init__(recording, allocator)
        self.start = find_start(recording) if start is None else start
        self._device = recorded_device(recording) if device is None else device
        if self.start.segments:
            allocator.restore(self.start.segments, self.start.begins)
        self._begin()
        self.counts = dict.fromkeys(("alloc", *OBTAINED, *RETURNED), 0)
        self.matching = dict(self.counts)
        self.first_mismatch: Mismatch | None = None
        self.emptied: list[int] = []
        self._due: deque[tuple[str, int, int]] = deque()  # recorded, to be reproduced
        self._due_since = 0
        self._is_retry = False
        self._next_own = _OWN_ADDRESSES
        self._own: list[int] = []

    def play(self, begin: int, end: int) -> None:
        """Replay the events from `begin` to `end`."""
        for index, event in enumerate(self.recording.events[begin:end], begin):
            self._index, self._event = index, event
            try:
                self._step(event)
            except (ActprofError, LookupError) as error:  # a recording that contradicts itself
                self._differ(f"the simulation failed: {error}")
        self.played = end

    def finish(self) -> None:
        """Reproduce what was recorded last, and sum up."""
        events = self.recording.events
        self._flush()
        self.obtained = sum(self.counts[action] for action in OBTAINED)
        self.returned = sum(self.counts[action] for action in RETURNED)
        self.releases = len(self.emptied)
        if self.oom is not None and events[self.oom.event :].are("alloc").any():
            self.oom = replace(self.oom, ended=False)

    def _step(self, event: Event) -> None:
        action, address = event.action, event.address
        if action in self.counts:
            self.counts[action] += 1
        if action == "alloc":
            self._alloc(event)
        elif action == "free_requested":
            self._flush()
            self.allocator.free_requested(self._live.get(address, address))
        elif action == "free_completed":
            self._flush()
            self.allocator.free_completed(self._live.pop(address, address))
        elif action in self.counts:
            if action in RETURNED and not any(due[0] in RETURNED for due in self._due):
                self._due_since = self._index
            self._due.append((action, address, event.size_bytes))
            self._is_retry = self._is_retry or self._index in self._device.retried
        elif action == "oom":
            self._run_out(event)

    def _alloc(self, event: Event) -> None:
        if self._is_retry and self._explains_release(event):
            self.allocator.device.capacity_bytes = self._limit()
        else:
            self._flush()
        address = self.allocator.malloc(event.size_bytes, event.stream)
        self._is_retry, self.allocator.device.capacity_bytes = False, None
        if self.allocator.reserved_bytes > self.highest[0]:
            self.highest = (self.allocator.reserved_bytes, self._index)
        self._compare()
        self._forget_own()
        if address == event.address:
            self.matching["alloc"] += 1
            return
        self._live[event.address] = address
        self._differ(f"the simulation gives {address:#x}")

    def _flush(self) -> None:
        """Reproduce a release of the cache that the program asked for."""
        if any(action in RETURNED for action, _, _ in self._due):
            self.allocator.empty_cache()
            self.emptied.append(self._due_since)
            obtained = [due for due in self._due if due[0] in OBTAINED]
            self._due = deque(due for due in self._due if due[0] in RETURNED)
            self._compare()
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
        trial = CachingAllocator(
            config,
            capacity_bytes=self._limit(),
            total_bytes=1 << 41,
            torch_version=self.recording.torch_version,
            place=self._place,
        )
        trial.restore(allocator.snapshot())
        trial.device.log = []
        with suppress(OutOfMemoryError):
            trial.malloc(event.size_bytes, event.stream)
        return trial.device.log == list(self._due)

    def _limit(self) -> int:
        """Return what the device holds if that is just what was recorded to be obtained.

        With so much the first attempt of a request fails that was recorded to be tried again.
        """
        held = most = self.allocator.device.reserved_bytes
        for action, _, size in self._due:
            held += size if action in OBTAINED else -size
            most = max(most, held)
        return most

    def _run_out(self, event: Event) -> None:
        """Reproduce an allocation that failed."""
        if self.allocator.can_reuse(event.size_bytes, event.stream):
            self._flush()
        allocator = self.allocator
        allocator.device.capacity_bytes = self._limit()
        try:
            allocator.free(allocator.malloc(event.size_bytes, event.stream))
        except OutOfMemoryError:
            pass
        else:
            self._differ("the simulation does not run out")
        segment = segment_size(event.size_bytes, allocator.config.large_segment_size_bytes)
        self._refuse(self._index, event.size_bytes, segment)
        self._is_retry, self.allocator.device.capacity_bytes = False, None
        self._compare()
        self._forget_own()

    def _compare(self) -> None:
        """Compare what the simulation did with segments to what was recorded since the last comparison."""
        if not self._log and not self._due:
            return
        for simulated, recorded in zip(self._log, self._due, strict=False):
            if simulated == recorded:
                self.matching[recorded[0]] += 1
        if self._log != list(self._due):
            self._differ(f"segments {_short(self._log)} instead of {_short(list(self._due))}")
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

    def _differ(self, what: str) -> None:
        if self.first_mismatch is None:
            action, address, size, *_rest = self._event
            self.first_mismatch = Mismatch(self._index, action, address, size, what)


def _short(events: list[tuple[str, int, int]]) -> str:
    """Write the first few segment events."""
    shown = ", ".join(f"{action} {address:#x}+{size}" for action, address, size in events[:3])
    return f"[{shown}{', …' if len(events) > 3 else ''}]"
