"""The proof that the simulation decides as the real allocator did: a recording, replayed and compared.

The peaks that the recording itself shows are found without simulating anything. Reserved and requested bytes
stand in the events; allocated bytes count whole blocks, whose size follows from the request and from the
place of the next block (`rewind.block_size`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import asdict, dataclass
from typing import Any

from actprof.allocator.rounding import SMALL_BYTES, round_size
from actprof.snapshots.events import OBTAINED, RETURNED, Event
from actprof.snapshots.exact_replay import ExactReplay, Mismatch
from actprof.snapshots.recording import Recording
from actprof.snapshots.rewind import Start, block_size

_COUNTS = (
    "allocations", "allocations_matching", "segment_allocs", "segment_allocs_matching", "segment_frees",
    "segment_frees_matching", "final_state_equal",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The most bytes that were allocated, requested and reserved."""

    allocated_bytes: int
    requested_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How far a replay agrees with its recording; `first_mismatch` says where it first does not.

    `guessed_blocks` of the starting state have a size that the recording does not tell: then the first
    differences may be those of the start.
    """

    allocations: int
    allocations_matching: int
    segment_allocs: int
    segment_allocs_matching: int
    segment_frees: int
    segment_frees_matching: int
    peaks_recorded: Peaks
    peaks_simulated: Peaks
    final_state_equal: bool
    from_empty: bool
    first_mismatch: Mismatch | None
    guessed_blocks: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether every address, segment, peak and the final state are the recorded ones."""
        same_peaks = self.peaks_recorded == self.peaks_simulated
        return self.first_mismatch is None and same_peaks and self.final_state_equal

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        peaks = {
            f"peak_{name}": {
                "recorded": getattr(self.peaks_recorded, name),
                "simulated": getattr(self.peaks_simulated, name),
            }
            for name in ("allocated_bytes", "reserved_bytes")
        }
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            **peaks,
            "from_empty": self.from_empty,
            "first_mismatch": None if self.first_mismatch is None else asdict(self.first_mismatch),
            "ambiguous_start": self.guessed_blocks > 0,
        }


def verify(recording: Recording) -> Verification:
    """Replay a recording through a `CachingAllocator` and compare."""
    replay = ExactReplay(recording)
    replay.play(0, len(recording.events))
    replay.finish()
    allocator, counts, matching = replay.allocator, replay.counts, replay.matching
    return Verification(
        allocations=counts["alloc"],
        allocations_matching=matching["alloc"],
        segment_allocs=sum(counts[action] for action in OBTAINED),
        segment_allocs_matching=sum(matching[action] for action in OBTAINED),
        segment_frees=sum(counts[action] for action in RETURNED),
        segment_frees_matching=sum(matching[action] for action in RETURNED),
        peaks_recorded=find_peaks(recording, replay.start),
        peaks_simulated=Peaks(
            allocated_bytes=allocator.peak_allocated_bytes,
            requested_bytes=allocator.peak_requested_bytes,
            reserved_bytes=allocator.peak_reserved_bytes,
        ),
        final_state_equal=allocator.snapshot() == recording.final,
        from_empty=recording.from_empty,
        first_mismatch=replay.first_mismatch,
        guessed_blocks=replay.start.guessed_blocks,
    )


def find_peaks(recording: Recording, start: Start) -> Peaks:
    """Return the peaks that a recording shows, which began with `start`."""
    in_use = _InUse(recording, start)
    for event in recording.events:
        in_use.step(event)
    allocated, requested, reserved = in_use.most
    return Peaks(allocated_bytes=allocated, requested_bytes=requested, reserved_bytes=reserved)


class _InUse:
    """What is in use according to a recording, event by event; `most` are the highest sums so far."""

    def __init__(self, recording: Recording, start: Start) -> None:
        self.most = [0, 0, 0]  # allocated, requested, reserved
        self._config = recording.config
        self._stops: list[int] = []  # where room ends: ends of segments, and blocks in use
        self._blocks: dict[int, tuple[int, int]] = {}  # address -> block size, requested
        self._allocated = self._requested = self._reserved = 0
        for segment in start.segments:
            self._obtain(segment.address, segment.total_bytes)
            for block in segment.blocks:
                if block.state != "free":
                    self._add(block.address, block.size_bytes, block.requested_bytes)
                    self._allocated -= block.size_bytes if block.state == "pending" else 0
        self._note()

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
            self._remove_stop(address)
        elif action in OBTAINED:
            self._obtain(address, size)
            self._note()
        elif action in RETURNED:
            self._reserved -= size
            self._remove_stop(address + size)

    def _add(self, address: int, size: int, requested: int) -> None:
        self._blocks[address] = size, requested
        self._allocated += size
        self._requested += requested
        insort(self._stops, address)

    def _size(self, address: int, requested: int) -> int:
        config = self._config
        is_small = round_size(requested, config.roundup_power2_divisions) <= SMALL_BYTES
        place = bisect_right(self._stops, address)
        known = place < len(self._stops)
        room = self._stops[place] - address if known else 0
        return block_size(requested, room, is_small=is_small or not known, config=config)

    def _obtain(self, address: int, size: int) -> None:
        self._reserved += size
        insort(self._stops, address + size)

    def _remove_stop(self, address: int) -> None:
        place = bisect_left(self._stops, address)
        if place < len(self._stops) and self._stops[place] == address:
            del self._stops[place]

    def _note(self) -> None:
        now = self._allocated, self._requested, self._reserved
        self.most = [max(pair) for pair in zip(self.most, now, strict=True)]
