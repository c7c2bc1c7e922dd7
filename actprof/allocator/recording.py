"""Replaying what PyTorch recorded: the proof that the simulation decides as the real allocator did.

A recording is a snapshot of torch.cuda.memory stripped to numbers (gzip JSON). The replay asks the
simulation for every recorded allocation and compares the address; only the place of a fresh segment, which
CUDA chose, is adopted from the recording, so that ties by address fall as they did.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.config import AllocatorConfig
from actprof.allocator.out_of_memory import OutOfMemoryError
from actprof.allocator.rewind import final_segments, starting_segments
from actprof.errors import ActprofError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from actprof.allocator.blocks import SegmentRecord

_OBTAINED = ("segment_alloc", "segment_map")
_RETURNED = ("segment_free", "segment_unmap")
_FALLBACK_ADDRESS = (
    1 << 43
)  # below all addresses that CUDA gives on Linux, for segments that were not recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One recorded event; of `oom`, `address` is the free memory and `size_bytes` the rounded request."""

    action: str
    address: int
    size_bytes: int
    stream: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The most bytes that were allocated, requested and reserved."""

    allocated_bytes: int
    requested_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded run: its settings, its events and the state it ended in."""

    config: AllocatorConfig
    torch_version: tuple[int, int]
    from_empty: bool
    events: tuple[Event, ...]
    final: tuple[SegmentRecord, ...]
    peaks: Peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingReplay:
    """How far a replay agrees with the recording; `first_mismatch` says where it first does not."""

    allocations: int
    allocations_matching: int
    segment_allocs: int
    segment_allocs_matching: int
    segment_frees: int
    segment_frees_matching: int
    peaks_recorded: Peaks
    peaks_simulated: Peaks
    final_state_equal: bool
    first_mismatch: str | None

    @property
    def is_exact(self) -> bool:
        """Whether every address, segment, peak and the final state are the recorded ones."""
        return (
            self.first_mismatch is None
            and self.peaks_recorded == self.peaks_simulated
            and self.final_state_equal
        )


def load_recording(path: Path) -> Recording:
    """Read a stripped recording.

    Raises:
        StoreError: the file cannot be read or is no recording.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            data = json.load(file)
        return _parse(data)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreError(f"{path} is not a stripped allocator recording: {error!r}") from error


def replay_recording(recording: Recording) -> RecordingReplay:
    """Replay `recording` through a `CachingAllocator` and compare."""
    return _Replayer(recording).run()


def _parse(data: dict[str, Any]) -> Recording:
    streams = {int(index): int(pointer) for index, pointer in data.get("streams", {}).items()}
    actions = data["actions"]
    peak = data["expected"]["peak"]
    return Recording(
        config=_parse_config(data),
        torch_version=_parse_version(data.get("torch")),
        from_empty=data["expected"]["from_empty"],
        events=tuple(
            Event(
                action=actions[action], address=address, size_bytes=size, stream=streams.get(stream, stream)
            )
            for action, address, size, stream in data["events"]
        ),
        final=final_segments(data["final_segments"], streams),
        peaks=Peaks(
            allocated_bytes=peak["alloc"], requested_bytes=peak["requested"], reserved_bytes=peak["reserved"]
        ),
    )


def _parse_config(data: dict[str, Any]) -> AllocatorConfig:
    """Return the settings; those changed at run time stand beside the text of the environment variable."""
    settings = data.get("allocator_settings") or {}
    config = AllocatorConfig.parse(settings.get("PYTORCH_CUDA_ALLOC_CONF", ""))
    expandable = settings.get("expandable_segments", any(segment[4] for segment in data["final_segments"]))
    max_split = settings.get("max_split_size", -1)
    return replace(
        config, expandable_segments=expandable, max_split_size_bytes=max_split if max_split > 0 else None
    )


def _parse_version(text: str | None) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(match[1]), int(match[2])) if match else (2, 11)


class _Replayer:
    """The state of one replay: the allocator, the recorded segment events not yet used up, and the counts."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.allocator = CachingAllocator(
            recording.config, torch_version=recording.torch_version, place=self._place
        )
        if not recording.from_empty:
            self.allocator.restore(starting_segments(recording.events, recording.final, recording.config))
        self.log: list[tuple[str, int, int]] = []
        self.allocator.device.log = self.log
        self.due: deque[tuple[str, int, int]] = deque()  # recorded, to be reproduced by the next allocation
        self.live: dict[int, int] = {}  # recorded address -> simulated address, where they differ
        self.fallback = _FALLBACK_ADDRESS
        self.counts = dict.fromkeys(("alloc", *_OBTAINED, *_RETURNED), 0)
        self.matching = dict(self.counts)
        self.first_mismatch: str | None = None

    def run(self) -> RecordingReplay:
        for index, event in enumerate(self.recording.events):
            try:
                self._step(index, event)
            except ActprofError as error:
                self._mismatch(index, event, f"the simulation failed: {error}")
        if self.due:
            self._flush(len(self.recording.events) - 1, self.recording.events[-1])
        return self._result()

    def _step(self, index: int, event: Event) -> None:
        action = event.action
        if action in self.counts:
            self.counts[action] += 1
        if action in _OBTAINED or action in _RETURNED:
            self.due.append((action, event.address, event.size_bytes))
        elif action == "alloc":
            self._flush(index, event)
            self._alloc(index, event)
        elif action == "free_requested":
            self.allocator.free_requested(self.live.get(event.address, event.address))
        elif action == "free_completed":
            self.allocator.free_completed(self.live.pop(event.address, event.address))
        elif action == "oom":
            self._run_out(index, event)

    def _alloc(self, index: int, event: Event) -> None:
        address = self.allocator.malloc(event.size_bytes, event.stream)
        self._compare(index, event)
        if address == event.address:
            self.matching["alloc"] += 1
            return
        self.live[event.address] = address
        self._mismatch(index, event, f"the simulation gives {address:#x}")

    def _flush(self, index: int, event: Event) -> None:
        """Reproduce a recorded release of the cache.

        Whether the program or a failed cudaMalloc began it was not recorded, and it makes no difference.
        """
        if any(action in _RETURNED for action, _, _ in self.due):
            self.allocator.empty_cache()
            obtained = [due for due in self.due if due[0] in _OBTAINED]
            self.due = deque(due for due in self.due if due[0] in _RETURNED)
            self._compare(index, event)
            self.due.extend(obtained)

    def _run_out(self, index: int, event: Event) -> None:
        """Reproduce an allocation that failed: the device holds just what was recorded to be mapped."""
        device = self.allocator.device
        sizes = [size if action in _OBTAINED else -size for action, _, size in self.due]
        most = max(sum(sizes[:count]) for count in range(len(sizes) + 1))
        device.capacity_bytes = device.reserved_bytes + most
        try:
            address = self.allocator.malloc(event.size_bytes, event.stream)
        except OutOfMemoryError:
            pass
        else:
            self.allocator.free(address)
            self._mismatch(index, event, "the simulation does not run out")
        device.capacity_bytes = None
        self._compare(index, event)

    def _compare(self, index: int, event: Event) -> None:
        """Compare what the simulation did with segments to what was recorded since the last comparison."""
        if not self.log and not self.due:
            return
        for simulated, recorded in zip(self.log, self.due, strict=False):
            if simulated == recorded:
                self.matching[recorded[0]] += 1
        if self.log != list(self.due):
            self._mismatch(index, event, f"segments {_short(self.log)} instead of {_short(list(self.due))}")
        self.log.clear()
        self.due.clear()

    def _place(self, size_bytes: int) -> int:
        """Give a fresh segment its recorded address, or one apart from all where none was recorded."""
        for action, address, size in self.due:
            if action == "segment_map" or (action == "segment_alloc" and size == size_bytes):
                return address
        self.fallback += -(-size_bytes >> 25) + 1 << 25
        return self.fallback - (-(-size_bytes >> 25) + 1 << 25)

    def _mismatch(self, index: int, event: Event, what: str) -> None:
        if self.first_mismatch is None:
            size, address = event.size_bytes, event.address
            self.first_mismatch = f"event {index} ({event.action} of {size} bytes at {address:#x}): {what}"

    def _result(self) -> RecordingReplay:
        allocator, counts, matching = self.allocator, self.counts, self.matching
        return RecordingReplay(
            allocations=counts["alloc"],
            allocations_matching=matching["alloc"],
            segment_allocs=sum(counts[action] for action in _OBTAINED),
            segment_allocs_matching=sum(matching[action] for action in _OBTAINED),
            segment_frees=sum(counts[action] for action in _RETURNED),
            segment_frees_matching=sum(matching[action] for action in _RETURNED),
            peaks_recorded=self.recording.peaks,
            peaks_simulated=Peaks(
                allocated_bytes=allocator.peak_allocated_bytes,
                requested_bytes=allocator.peak_requested_bytes,
                reserved_bytes=allocator.peak_reserved_bytes,
            ),
            final_state_equal=allocator.snapshot() == self.recording.final,
            first_mismatch=self.first_mismatch,
        )


def _short(events: list[tuple[str, int, int]]) -> str:
    """Write the first few segment events."""
    shown = ", ".join(f"{action} {address:#x}+{size}" for action, address, size in events[:3])
    return f"[{shown}{', …' if len(events) > 3 else ''}]"
