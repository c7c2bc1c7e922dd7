"""One recording, replayed as it was recorded and under other settings: the columns of `actprof replay`.

`SnapshotReplay` and its columns are plain records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from actprof.snapshots.exact_replay import ExactReplay
from actprof.snapshots.memory_over_time import (
    Course,
    Holder,
    Moment,
    RefusedRequest,
    Replay,
    look_after,
    look_at_peak,
    watch,
)
from actprof.snapshots.recorded_device import RecordedDevice, recorded_device
from actprof.snapshots.recording import Recording
from actprof.snapshots.rewind import find_start
from actprof.snapshots.what_if_replay import Question, WhatIfReplay
from actprof.units import format_bytes

SCHEMA_VERSION = 1
_HOLDERS = 12
_PASSED = (
    "requests that ran out when recorded are served in some columns; what the program would have done next "
    "was not recorded, so its peak can be higher"
)
_ASKED_ANEW = (
    "where the kind of segments changes, the blocks that were held at the start are asked for anew, by "
    "address"
)
_NO_ROOM = (
    "a device smaller than CUDA's own context leaves nothing to reserve: no program runs there; --capacity "
    "is the memory of the whole device"
)
_NO_LIMIT = (
    "the recording does not show how much memory the device had: without --gpu or --capacity there is no "
    "limit"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One column: a replay under one setting.

    Attributes:
        alloc_conf: the settings, as PYTORCH_CUDA_ALLOC_CONF.
        available_bytes: what the process could reserve; None without limit.
        events: how many were replayed.
        unused_bytes: reserved and not allocated at the moment when most was reserved.
        inactive_split_bytes: of that, what a release could not give back (0 for expandable segments).
        segments: at that moment (expandable: ranges with memory).
        segments_obtained, segments_returned: in all.
        cache_releases: empty_cache() calls of the program that gave memory back when recorded.
        retries: releases of the cache for another attempt.
        passed_ooms: recorded `oom` events whose request was served; what the program does then is not known.
        peak: that moment, or the one at which it ran out.
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


def replay_recording(
    recording: Recording,
    questions: Sequence[Question] = (),
    *,
    name: str = "",
    progress: Callable[[str], None] | None = None,
) -> SnapshotReplay:
    """Replay a recording as it was, then under each question.

    Args:
        recording: to be replayed.
        questions: one column each; without a limit of its own it has the recorded device's, if known.
        name: of the snapshot, for the output.
        progress: told the label of each column before it is worked on.
    """
    tell = progress or (lambda _label: None)
    tell("as recorded")
    start, device = find_start(recording), recorded_device(recording)
    make_exact = partial(ExactReplay, recording, start, device)
    exact = make_exact()
    outcomes = [_outcome(exact, make_exact, "as recorded")]
    known = device.available_is_exact or outcomes[0].retries
    available = device.available_bytes if known else None
    for question in questions:
        tell(question.label)
        limit = available if question.available_bytes is None else question.available_bytes
        limited = replace(question, available_bytes=limit)
        emptied = frozenset(exact.emptied)
        make = partial(WhatIfReplay, recording, limited, start=start.segments, emptied=emptied)
        outcomes.append(replace(_outcome(make(), make, question.label), available_bytes=limit))
    notes = [*recording.notes, *_about_the_record(exact)]
    if any(question.available_bytes is None for question in questions):
        notes.append(_about_the_limit(device, available))
    if any(question.available_bytes == 0 for question in questions):
        notes.append(_NO_ROOM)
    if any(outcome.passed_ooms for outcome in outcomes):
        notes.append(_PASSED)
    kinds = {(question.config or recording.config).expandable_segments for question in questions}
    if start.segments and kinds - {segment.is_expandable for segment in start.segments}:
        notes.append(_ASKED_ANEW)
    return SnapshotReplay(
        name=name,
        device=recording.device,
        events=len(recording.events),
        from_empty=recording.from_empty,
        torch_version=recording.torch_version,
        agrees=exact.first_mismatch is None,
        notes=tuple(notes),
        outcomes=tuple(outcomes),
    )


def _outcome(replay: Replay, make: Callable[[], Replay], label: str) -> Outcome:
    """Play a replay, and look at its peak, or at the moment where it ran out, in others that `make` makes."""
    course = watch(replay)
    replay.finish()
    oom = replay.oom
    if oom is not None and oom.ended:
        moment = look_after(make, max(oom.event, 0) - 1)
    else:
        moment = look_at_peak(make, course, replay.highest[1])
    allocated, requested, reserved = course.peaks
    return Outcome(
        label=label,
        alloc_conf=str(replay.allocator.config),
        available_bytes=None,
        events=replay.played,
        peak_allocated_bytes=allocated,
        peak_requested_bytes=requested,
        peak_reserved_bytes=reserved,
        unused_bytes=moment.reserved_bytes - moment.allocated_bytes,
        inactive_split_bytes=moment.inactive_split_bytes,
        segments=len(moment.segments),
        segments_obtained=replay.obtained,
        segments_returned=replay.returned,
        cache_releases=replay.releases,
        retries=replay.allocator.num_alloc_retries,
        oom=oom,
        passed_ooms=replay.passed_ooms,
        peak=moment,
        course=course,
    )


def _about_the_record(exact: ExactReplay) -> Iterator[str]:
    if exact.start.guessed_blocks:
        yield say_ambiguous(exact.start.guessed_blocks)
    if exact.first_mismatch is not None:
        yield f"the simulation leaves the record at {exact.first_mismatch}"


def _about_the_limit(device: RecordedDevice, available: int | None) -> str:
    if available is None:
        return _NO_LIMIT
    how = "was free when it ran out" if device.available_is_exact else "the recorded run reserved at most"
    return (
        f"without --gpu or --capacity the limit is the recorded device's: {format_bytes(available)}, known "
        f"from what {how}"
    )


def say_ambiguous(blocks: int) -> str:
    """Return what a recording from mid-run leaves open when it does not tell the size of some blocks."""
    return (
        f"the starting state is ambiguous: of {blocks} blocks that were freed since, the recording does not "
        "tell the size to within 1 MiB"
    )
