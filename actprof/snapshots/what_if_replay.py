"""Replaying what a recorded program asked for under other settings or on another device: `Question`.

Kept are the program's own steps: allocations and frees with their streams, and its empty_cache() calls. What
the recorded allocator did of itself (segments, retries) is left to the simulation. A program that runs out
of memory is taken to die there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from actprof.allocator.blocks import SegmentRecord
from actprof.allocator.caching import CachingAllocator
from actprof.allocator.config import AllocatorConfig
from actprof.errors import UnknownAnswerError, UsageError
from actprof.hardware import builtin_catalogue, find_device
from actprof.out_of_memory import OutOfMemoryError
from actprof.snapshots.events import ALLOC, FREE_COMPLETED, FREE_REQUESTED, OOM
from actprof.snapshots.memory_over_time import Replay
from actprof.snapshots.recording import Recording
from actprof.units import format_bytes, parse_bytes

DEFAULTS = "PyTorch's defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to replay a recording under, for one column.

    Attributes:
        config: the allocator's settings; the recorded ones where it is None.
        available_bytes: what the process can reserve; None without limit.
        total_bytes: the memory of the device, for the memory fraction.
    """

    label: str
    config: AllocatorConfig | None = None
    available_bytes: int | None = None
    total_bytes: int | None = None


class WhatIfReplay(Replay):
    """Replays the requests of a recording.

    Args:
        recording: what to replay.
        question: under which settings, on which device.
        start: the segments that the recording began with.
        emptied: events at which the program emptied the cache.
    """

    def __init__(
        self,
        recording: Recording,
        question: Question,
        *,
        start: Sequence[SegmentRecord] = (),
        emptied: Collection[int] = frozenset(),
    ) -> None:
        allocator = CachingAllocator(
            question.config or recording.config,
            capacity_bytes=question.available_bytes,
            total_bytes=question.total_bytes,
            torch_version=recording.torch_version,
        )
        super().__init__(recording, allocator)
        self._emptied = emptied
        self._take_over(start)
        self._begin()

    def play(self, begin: int, end: int) -> None:  # noqa: C901 - one loop: calls cost half the rate
        """Replay the events from `begin` to `end`, or up to the one that runs out."""
        if self.oom is not None:
            return
        allocator, live, log = self.allocator, self._live, self._log
        malloc, complete = allocator.malloc, allocator.free_completed
        part = self.recording.events[begin:end]
        columns = (column.tolist() for column in part.columns[:-1])  # who asked does not matter
        position = begin - 1
        try:
            for action, address, size, stream in zip(*columns, strict=True):
                position += 1
                if action == ALLOC:
                    live[address] = malloc(size, stream)
                    if log:
                        self._note(position)
                elif action == FREE_REQUESTED:
                    if address in live:  # what was never allocated was held before the recording began
                        allocator.free_requested(live[address])
                elif action == FREE_COMPLETED:
                    if address in live:
                        complete(live.pop(address))
                elif action == OOM:
                    allocator.free(malloc(size, stream))
                    self.passed_ooms += 1
                    self._note(position)
                elif position in self._emptied:
                    allocator.empty_cache()
                    self.releases += 1
                    self._note(position)
            self.played = end
        except OutOfMemoryError as error:
            self._note(position)
            self._refuse(position, error.requested_bytes, error.segment_bytes)
            self.played = position
        except (UsageError, LookupError) as error:
            raise UnknownAnswerError(
                f"the recording contradicts itself at event {position}: {error}; record the run again"
            ) from error

    def _take_over(self, start: Sequence[SegmentRecord]) -> None:
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
        if self.oom is None and not allocator.device.has(0):
            self._refuse(-1, 0, 0)

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
            self._refuse(-1, error.requested_bytes, error.segment_bytes)

    def _note(self, event: int) -> None:
        """Count what went to and fro between allocator and device."""
        obtained = sum(action in {"segment_alloc", "segment_map"} for action, _, _ in self._log)
        self.obtained += obtained
        self.returned += len(self._log) - obtained
        self._log.clear()
        if self.allocator.reserved_bytes > self.highest[0]:
            self.highest = (self.allocator.reserved_bytes, event)


def make_questions(
    *,
    gpu: str | None = None,
    capacity: str | int | None = None,
    alloc_conf: str | None = None,
    compare: Sequence[str] = (),
) -> tuple[Question, ...]:
    """Return one question for the device and settings asked for, and one for each of `compare`.

    The device's memory less its CUDA context is what the process can reserve.

    Raises:
        UsageError: a setting, a size or a GPU that cannot be.
    """
    if gpu is not None and capacity is not None:
        raise UsageError("give --gpu or --capacity, not both: either says how much memory there is")
    texts: list[str | None] = [*compare]
    where, available, total = "", None, None
    if gpu is not None or capacity is not None:
        size = None if capacity is None else parse_bytes(capacity)
        device = find_device(gpu, size, catalogue=builtin_catalogue())
        available, total = device.available_bytes, device.gpu.capacity_bytes
        where = f" on {gpu or format_bytes(total)}"
    if alloc_conf is not None or total is not None:
        texts.insert(0, alloc_conf)
    questions = []
    for text in texts:
        config = None if text is None else AllocatorConfig.parse(text)
        label = "recorded settings" if config is None else str(config) or DEFAULTS
        questions.append(
            Question(label=label + where, config=config, available_bytes=available, total_bytes=total)
        )
    return tuple(questions)
