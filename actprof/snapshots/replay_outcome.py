"""What replays of one recording found: plain records, one `Outcome` a column."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from actprof.snapshots.memory_over_time import Course, Holder, Moment, RefusedRequest

SCHEMA_VERSION = 1
_HOLDERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One column: a replay under one setting.

    Attributes:
        label: of the column.
        alloc_conf: the settings, as PYTORCH_CUDA_ALLOC_CONF.
        available_bytes: what the process could reserve; None without limit.
        events: how many were replayed.
        peak_allocated_bytes, peak_requested_bytes, peak_reserved_bytes: the highest.
        unused_bytes: reserved and not allocated at the moment when most was reserved.
        inactive_split_bytes: of that, what a release could not give back (0 for expandable segments).
        segments: at that moment (expandable: ranges with memory).
        segments_obtained, segments_returned: in all.
        cache_releases: empty_cache() calls of the program that gave memory back when recorded.
        retries: releases of the cache for another attempt.
        oom: the request that found no memory.
        passed_ooms: recorded `oom` events whose request was served; what the program does then is not known.
        peak: that moment, or the one at which it ran out.
        course: over all events.
    """

    label: str
    alloc_conf: str
    available_bytes: int | None
    events: int
    peak_allocated_bytes: int
    peak_requested_bytes: int
    peak_reserved_bytes: int
    unused_bytes: int
    inactive_split_bytes: int
    segments: int
    segments_obtained: int
    segments_returned: int
    cache_releases: int
    retries: int
    oom: RefusedRequest | None
    passed_ooms: int
    peak: Moment = field(repr=False)
    course: Course = field(repr=False)

    @property
    def top_holders(self) -> tuple[Holder, ...]:
        """Who holds the most at the peak."""
        return self.peak.holders[:_HOLDERS]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the course and the blocks."""
        left_out = {"peak", "course", "oom"}
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}
        return {
            **plain,
            "oom": None if self.oom is None else asdict(self.oom),
            "peak_event": self.peak.event,
            "top_holders": [asdict(holder) for holder in self.top_holders],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReplay:
    """All columns of one recording; the first is the recorded run."""

    name: str
    device: int
    events: int
    from_empty: bool
    torch_version: tuple[int, int]
    agrees: bool
    notes: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "snapshot": self.name,
            "device": self.device,
            "events": self.events,
            "from_empty": self.from_empty,
            "torch_version": ".".join(map(str, self.torch_version)),
            "simulation_agrees": self.agrees,
            "notes": list(self.notes),
            "columns": [outcome.to_json() for outcome in self.outcomes],
        }


def say_ambiguous(blocks: int) -> str:
    """Return what a recording from mid-run leaves open when it does not tell the size of some blocks."""
    return (
        f"the starting state is ambiguous: of {blocks} blocks that were freed since, the recording does not "
        "tell the size to within 1 MiB"
    )
