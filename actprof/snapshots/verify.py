"""The proof that the simulation decides as the real allocator did: a recording, replayed and compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from actprof.snapshots.record_player import OBTAINED, RETURNED, Mismatch, RecordPlayer
from actprof.snapshots.recorded_peaks import find_peaks
from actprof.snapshots.recording import Peaks

if TYPE_CHECKING:
    from actprof.snapshots.recording import Recording


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
        return (
            self.first_mismatch is None
            and self.peaks_recorded == self.peaks_simulated
            and self.final_state_equal
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counts = {
            name: getattr(self, name)
            for name in (
                "allocations",
                "allocations_matching",
                "segment_allocs",
                "segment_allocs_matching",
                "segment_frees",
                "segment_frees_matching",
                "final_state_equal",
            )
        }
        peaks = {
            f"peak_{name}_bytes": {
                "recorded": getattr(self.peaks_recorded, f"{name}_bytes"),
                "simulated": getattr(self.peaks_simulated, f"{name}_bytes"),
            }
            for name in ("allocated", "reserved")
        }
        first = None if self.first_mismatch is None else asdict(self.first_mismatch)
        return {
            **counts,
            **peaks,
            "from_empty": self.from_empty,
            "first_mismatch": first,
            "ambiguous_start": self.guessed_blocks > 0,
        }


def verify(recording: Recording) -> Verification:
    """Replay a recording through a `CachingAllocator` and compare."""
    player = RecordPlayer(recording)
    player.play(0, len(recording.events))
    player.finish()
    allocator, counts, matching = player.allocator, player.counts, player.matching
    return Verification(
        allocations=counts["alloc"],
        allocations_matching=matching["alloc"],
        segment_allocs=sum(counts[action] for action in OBTAINED),
        segment_allocs_matching=sum(matching[action] for action in OBTAINED),
        segment_frees=sum(counts[action] for action in RETURNED),
        segment_frees_matching=sum(matching[action] for action in RETURNED),
        peaks_recorded=find_peaks(recording, player.start.segments),
        peaks_simulated=Peaks(
            allocated_bytes=allocator.peak_allocated_bytes,
            requested_bytes=allocator.peak_requested_bytes,
            reserved_bytes=allocator.peak_reserved_bytes,
        ),
        final_state_equal=allocator.snapshot() == recording.final,
        from_empty=recording.from_empty,
        first_mismatch=player.first_mismatch,
        guessed_blocks=player.start.guessed_blocks,
    )
