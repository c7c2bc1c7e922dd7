"""Replaying what a recorded program asked for under other settings or on another device.

Kept are the program's own steps: allocations and frees with their streams, and its empty_cache() calls. What
the recorded allocator did of itself (segments, retries) is left to the simulation. A program that runs out
of memory is taken to die there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.config import AllocatorConfig
from actprof.errors import UnknownAnswerError, UsageError
from actprof.out_of_memory import OutOfMemoryError
from actprof.snapshots.events import ALLOC, FREE_COMPLETED, FREE_REQUESTED, OOM

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from actprof.allocator.blocks import SegmentRecord
    from actprof.snapshots.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to replay under.

    Attributes:
        config: the allocator's settings.
        available_bytes: what the process can reserve; None without limit.
        total_bytes: the memory of the device, for the memory fraction.
        torch_version: (major, minor) whose rules are meant.
    """

    config: AllocatorConfig
    available_bytes: int | None = None
    total_bytes: int | None = None
    torch_version: tuple[int, int] = (2, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The request that found no memory, or that PyTorch recorded as such; `event` is -1 before the first."""

    event: int
    requested_bytes: int
    segment_bytes: int
    allocated_bytes: int
    reserved_bytes: int


class RequestPlayer:
    """Replays the requests of a recording.

    Args:
        recording: what to replay.
        settings: what to replay it under.
        start: the segments that the recording began with.
        emptied: events at which the program emptied the cache.

    Attributes:
        allocator: in the state after the last event that was replayed.
        failure: the request that ended the run, once there is one.
        survived: recorded `oom` events whose request was served here.
        releases: calls of empty_cache().
        obtained, returned: segments (or ranges of pages) from and to the device.
        highest: (most reserved bytes after an event, that event); the event is -1 at the start.
        unknown_frees: frees of addresses that were never allocated.
    """

    def __init__(
        self,
        recording: Recording,
        settings: Settings,
        *,
        start: Sequence[SegmentRecord] = (),
        emptied: Collection[int] = frozenset(),
    ) -> None:
        self.recording = recording
        self.allocator = CachingAllocator(
            settings.config,
            capacity_bytes=settings.available_bytes,
            total_bytes=settings.total_bytes,
            torch_version=settings.torch_version,
        )
        self._live: dict[int, int] = {}  # recorded address -> simulated address
        self._emptied = emptied
        self.failure: Failure | None = None
        self.survived: list[int] = []
        self.releases = self.obtained = self.returned = self.unknown_frees = 0
        self._log: list[tuple[str, int, int]] = []
        self._begin(start)
        self.allocator.device.log = self._log
        self.highest = (self.allocator.reserved_bytes, -1)

    def play(self, begin: int, end: int) -> None:  # noqa: C901, PLR0912 - one loop: calls cost half the rate
        """Replay the events from `begin` to `end`, or up to the one that runs out."""
        if self.failure is not None:
            return
        allocator, live, log = self.allocator, self._live, self._log
        malloc, complete = allocator.malloc, allocator.free_completed
        rows = self.recording.events.rows(begin, end)
        position = begin - 1
        try:
            for action, address, size, stream in zip(*rows, strict=True):
                position += 1
                if action == ALLOC:
                    live[address] = malloc(size, stream)
                    if log:
                        self._note(position)
                elif action == FREE_REQUESTED:
                    if address in live:
                        allocator.free_requested(live[address])
                    else:
                        self.unknown_frees += 1
                elif action == FREE_COMPLETED:
                    if address in live:
                        complete(live.pop(address))
                elif action == OOM:
                    allocator.free(malloc(size, stream))
                    self.survived.append(position)
                    self._note(position)
                elif position in self._emptied:
                    allocator.empty_cache()
                    self.releases += 1
                    self._note(position)
        except OutOfMemoryError as error:
            self._note(position)
            self._fail(position, error)
        except (UsageError, LookupError) as error:
            raise UnknownAnswerError(
                f"the recording contradicts itself at event {position}: {error}; record the run again"
            ) from error

    def recorded_addresses(self) -> dict[int, int]:
        """Return the recorded address of every block in use, by its address here."""
        return {here: recorded for recorded, here in self._live.items()}

    def _begin(self, start: Sequence[SegmentRecord]) -> None:
        """Take over the blocks that the recording began with.

        Segments of the same kind are taken over as they lie; otherwise their blocks are asked for anew, by
        address, since in which order they came is not known.
        """
        allocator = self.allocator
        if all(segment.is_expandable == allocator.config.expandable_segments for segment in start):
            allocator.restore(start)
            used = (block for segment in start for block in segment.blocks if block.state != "free")
            self._live = {block.address: block.address for block in used}
            if not allocator.device.has(0):
                allocator.empty_cache()
        else:
            self._ask_anew(start)
        if self.failure is None and not allocator.device.has(0):
            self.failure = Failure(
                event=-1,
                requested_bytes=0,
                segment_bytes=0,
                allocated_bytes=allocator.allocated_bytes,
                reserved_bytes=allocator.reserved_bytes,
            )

    def _ask_anew(self, start: Sequence[SegmentRecord]) -> None:
        allocator = self.allocator
        try:
            for stream, block in ((segment.stream, block) for segment in start for block in segment.blocks):
                if block.state == "free":
                    continue
                address = self._live[block.address] = allocator.malloc(block.requested_bytes, stream)
                if block.state == "pending":
                    allocator.free_requested(address)
        except OutOfMemoryError as error:
            self._fail(-1, error)

    def _fail(self, event: int, error: OutOfMemoryError) -> None:
        self.failure = Failure(
            event=event,
            requested_bytes=error.requested_bytes,
            segment_bytes=error.segment_bytes,
            allocated_bytes=error.allocated_bytes,
            reserved_bytes=error.reserved_bytes,
        )

    def _note(self, event: int) -> None:
        """Count what went to and fro between allocator and device."""
        obtained = sum(action in {"segment_alloc", "segment_map"} for action, _, _ in self._log)
        self.obtained += obtained
        self.returned += len(self._log) - obtained
        self._log.clear()
        if self.allocator.reserved_bytes > self.highest[0]:
            self.highest = (self.allocator.reserved_bytes, event)
