"""One recording, replayed as it was recorded and under other settings: the columns of `actprof replay`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from actprof.snapshots.events import ALLOC
from actprof.snapshots.observe import Course, Player, frame_text, look_after, look_at_peak, watch
from actprof.snapshots.outcome import Outcome, OutOfMemory, Question, SnapshotReplay, say_ambiguous
from actprof.snapshots.record_player import RecordPlayer, Start
from actprof.snapshots.what_if import Failure, RequestPlayer, Settings
from actprof.units import format_bytes

if TYPE_CHECKING:
    from actprof.allocator.config import AllocatorConfig
    from actprof.snapshots.recording import Recording


def replay_recording(
    recording: Recording,
    questions: Sequence[Question] = (),
    *,
    name: str = "",
    progress: Callable[[str], None] | None = None,
) -> SnapshotReplay:
    """Replay a recording as it was, then under each question.

    Args:
        recording: what to replay.
        questions: one column each.
        name: of the snapshot, for the output.
        progress: told the label of each column before it is worked on.
    """
    tell = progress or (lambda _label: None)
    start = Start(recording)
    tell("as recorded")
    recorded, player = _replay_record(recording, start)
    available = _available(start, player)
    outcomes = [recorded]
    for question in questions:
        tell(question.label)
        own_limit = question.available_bytes is not None
        settings = Settings(
            config=question.config or recording.config,
            available_bytes=question.available_bytes if own_limit else available,
            total_bytes=question.total_bytes,
            torch_version=recording.torch_version,
        )
        outcomes.append(
            _replay_requests(recording, start, settings, question.label, frozenset(player.emptied))
        )
    return SnapshotReplay(
        name=name,
        device=recording.device,
        events=len(recording.events),
        from_empty=recording.from_empty,
        torch_version=recording.torch_version,
        agrees=player.first_mismatch is None,
        notes=(
            *recording.notes,
            *_notes(recording, start, player, outcomes[1:], questions, available=available),
        ),
        outcomes=tuple(outcomes),
    )


def _replay_record(recording: Recording, start: Start) -> tuple[Outcome, RecordPlayer]:
    make = partial(RecordPlayer, recording, start)
    player, count = make(), len(recording.events)
    course = watch(player, count)
    player.finish()
    counts = player.counts
    failure = player.ooms[-1] if player.ooms else None
    ended = failure is not None and not (recording.events.action[failure.event :] == ALLOC).any()
    outcome = _outcome(
        recording, make, course, player,
        failure=failure, ended=ended, label="as recorded", config=recording.config, available=None,
    )  # fmt: skip
    outcome = replace(
        outcome,
        segments_obtained=counts["segment_alloc"] + counts["segment_map"],
        segments_returned=counts["segment_free"] + counts["segment_unmap"],
        cache_releases=len(player.emptied),
        events=count,
    )
    return outcome, player


def _replay_requests(
    recording: Recording, start: Start, settings: Settings, label: str, emptied: frozenset[int]
) -> Outcome:
    make = partial(RequestPlayer, recording, settings, start=start.segments, emptied=emptied)
    player = make()
    course = watch(player, len(recording.events))
    outcome = _outcome(
        recording, make, course, player,
        failure=player.failure, ended=True, label=label, config=settings.config,
        available=settings.available_bytes,
    )  # fmt: skip
    return replace(
        outcome,
        segments_obtained=player.obtained,
        segments_returned=player.returned,
        cache_releases=player.releases,
        passed_ooms=len(player.survived),
    )


def _outcome(
    recording: Recording,
    make: Callable[[], Player],
    course: Course,
    player: Player,
    *,
    failure: Failure | None,
    ended: bool,
    label: str,
    config: AllocatorConfig,
    available: int | None,
) -> Outcome:
    """Return the part of a column that all players have."""
    stop = failure.event if failure is not None and ended else len(recording.events)
    if failure is not None and ended:
        moment = look_after(make, recording, stop - 1) if stop >= 0 else look_after(make, recording, -1)
    else:
        moment = look_at_peak(make, recording, course, highest=player.highest[1], end=stop)
    allocated, requested, reserved = course.peaks
    return Outcome(
        label=label,
        alloc_conf=str(config),
        available_bytes=available,
        events=max(stop, 0),
        peak_allocated_bytes=allocated,
        peak_requested_bytes=requested,
        peak_reserved_bytes=reserved,
        unused_bytes=moment.reserved_bytes - moment.allocated_bytes,
        inactive_split_bytes=moment.inactive_split_bytes,
        segments=len(moment.segments),
        segments_obtained=0,
        segments_returned=0,
        cache_releases=0,
        retries=player.allocator.num_alloc_retries,
        oom=None if failure is None else _out_of_memory(recording, failure, ended=ended),
        passed_ooms=0,
        peak=moment,
        course=course,
    )


def _out_of_memory(recording: Recording, failure: Failure, *, ended: bool) -> OutOfMemory:
    frame = frame_text(recording, failure.event if failure.event >= 0 else None)
    return OutOfMemory(**asdict(failure), frame=frame, ended=ended)


def _available(start: Start, player: RecordPlayer) -> int | None:
    """Return what the recorded process could reserve, where the recording tells."""
    device = start.device
    if device.available_is_exact or player.allocator.num_alloc_retries:
        return device.available_bytes
    return None


def _notes(
    recording: Recording,
    start: Start,
    player: RecordPlayer,
    outcomes: Sequence[Outcome],
    questions: Sequence[Question],
    *,
    available: int | None,
) -> list[str]:
    notes = []
    if start.guessed_blocks:
        notes.append(say_ambiguous(start.guessed_blocks))
    if player.first_mismatch is not None:
        notes.append(f"the simulation leaves the record at {player.first_mismatch}")
    if any(question.available_bytes is None for question in questions):
        notes.append(_limit_note(start, available))
    if any(outcome.passed_ooms for outcome in outcomes):
        notes.append(
            "requests that ran out when recorded are served in some columns; what the program would have "
            "done next was not recorded, so its peak can be higher"
        )
    kinds = {segment.is_expandable for segment in start.segments}
    if (
        any((question.config or recording.config).expandable_segments not in kinds for question in questions)
        and kinds
    ):
        notes.append(
            "where the kind of segments changes, the blocks that were held at the start are asked for anew, "
            "by address"
        )
    return notes


def _limit_note(start: Start, available: int | None) -> str:
    if available is None:
        return (
            "the recording does not show how much memory the device had: without --gpu or --capacity there "
            "is no limit"
        )
    how = (
        "was free when it ran out" if start.device.available_is_exact else "the recorded run reserved at most"
    )
    return (
        f"without --gpu or --capacity the limit is the recorded device's: {format_bytes(available)}, known "
        f"from what {how}"
    )
