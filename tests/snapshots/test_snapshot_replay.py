"""A recorded run, replayed as it was and under other settings: what the columns say."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc

import pytest

from actprof.allocator import AllocatorConfig
from actprof.errors import UsageError
from actprof.hardware import custom_gpu
from actprof.snapshots.events import Event, Events
from actprof.snapshots.memory_over_time import BEFORE_RECORDING, NO_FRAME, watch
from actprof.snapshots.recorded_device import recorded_device
from actprof.snapshots.recording import Recording, open_recording
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.verify import verify
from actprof.snapshots.what_if_replay import Question, WhatIfReplay, make_questions

MIB = 1024**2
GIB = 1024**3
BASE = 0x7F00_0000_0000


def make_recording(*events, final=(), conf="", from_empty=True):
    """Return a recording of events given as (action, address, bytes[, stream])."""
    rows = [Event(action, address, size, *stream) for action, address, size, *stream in padded(events)]
    return Recording(
        config=AllocatorConfig.parse(conf),
        torch_version=(2, 11),
        from_empty=from_empty,
        events=Events.of(rows),
        final=final,
    )


def padded(events):
    return [(*event, 0) if len(event) == 3 else event for event in events]


def alloc(address, mib):
    return [("segment_alloc", address, mib * MIB), ("alloc", address, mib * MIB)]


def free(address, mib):
    return [("free_requested", address, mib * MIB), ("free_completed", address, mib * MIB)]


def ask(recording, *questions):
    return replay_recording(recording, questions).outcomes


def question(conf="", mib=None):
    available = None if mib is None else mib * MIB
    return Question(label=conf, config=AllocatorConfig.parse(conf), available_bytes=available)


# -- who released the cache --------------------------------------------------------------------------------

A, B, C = BASE, BASE + GIB, BASE + 2 * GIB


def test_a_release_before_a_new_segment_was_a_retry():
    """Segments that go right before the segment of an allocation went because the device was full."""
    recording = make_recording(*alloc(A, 40), *free(A, 40), ("segment_free", A, 40 * MIB), *alloc(B, 60))
    device = recorded_device(recording)
    assert (frozenset({4}), frozenset()) == (device.retried, device.emptied)
    (recorded,) = ask(recording)
    assert (1, 0) == (recorded.retries, recorded.cache_releases)


def test_a_release_with_room_to_spare_was_the_programs():
    """The device had shown that it has room for 120 MiB, so 40 and 60 together need no retry."""
    recording = make_recording(
        *alloc(A, 40), *alloc(C, 80), *free(C, 80), ("segment_free", C, 80 * MIB), *free(A, 40),
        ("segment_free", A, 40 * MIB), *alloc(B, 60),
    )  # fmt: skip
    device = recorded_device(recording)
    assert (frozenset(), frozenset({6, 9})) == (device.retried, device.emptied)
    (recorded,) = ask(recording)
    assert (0, 2) == (recorded.retries, recorded.cache_releases)


def test_a_release_before_anything_else_was_the_programs():
    """It is followed by a free, or by nothing."""
    recording = make_recording(
        *alloc(A, 40), *alloc(B, 30), *free(A, 40), ("segment_free", A, 40 * MIB), *free(B, 30)
    )
    assert frozenset({6}) == recorded_device(recording).emptied
    recorded, same = ask(recording, question())
    assert (1, 1) == (recorded.cache_releases, same.cache_releases)
    assert (0, 0) == (recorded.retries, same.retries)


def test_a_release_that_the_free_list_made_unnecessary_was_the_programs():
    """A request that a cached block would have served is never retried: the program emptied the cache."""
    recording = make_recording(*alloc(A, 40), *free(A, 40), ("segment_free", A, 40 * MIB), *alloc(B, 40))
    (recorded,) = ask(recording)
    assert (0, 1) == (recorded.retries, recorded.cache_releases)
    assert verify(recording).first_mismatch is None


# -- what if -----------------------------------------------------------------------------------------------


def test_the_recorded_settings_reproduce_the_record(native_path):
    """Under its own settings and limit, the what-if gives the numbers of the recorded run."""
    recorded, again = replay_recording(
        open_recording(native_path), [Question(label="again", available_bytes=108 * MIB)]
    ).outcomes
    for name in (
        "peak_allocated_bytes",
        "peak_reserved_bytes",
        "retries",
        "segments_obtained",
        "cache_releases",
    ):
        assert getattr(recorded, name) == getattr(again, name)
    assert 2 == again.retries


def test_less_memory_ends_the_run(native_path):
    """The column ends at the first request that finds no memory, with the frame that asked."""
    _, less = ask(open_recording(native_path), question(mib=80))
    assert less.oom is not None
    assert less.oom.ended
    assert less.oom.event == less.events < 388
    assert "/home/me/model.py" in less.oom.frame
    assert less.oom.event - 1 == less.peak.event
    assert less.peak_reserved_bytes <= 80 * MIB


def test_a_recorded_failure_is_passed_where_there_is_memory(expandable_path):
    """With more memory the request that failed is served; the output says that nobody knows what follows."""
    replay = replay_recording(open_recording(expandable_path), [question("expandable_segments:True", 400)])
    recorded, more = replay.outcomes
    assert recorded.oom is not None
    assert recorded.oom.ended
    assert (None, 1) == (more.oom, more.passed_ooms)
    assert any("was not recorded, so its peak can be higher" in note for note in replay.notes)


def test_the_limit_of_the_recorded_device_is_known_from_a_failure(expandable_path):
    """What was reserved and what was free when it ran out add up to what the process could have."""
    _, native = ask(open_recording(expandable_path), Question(label="native", config=AllocatorConfig()))
    assert 128 * MIB == native.available_bytes
    assert native.oom is not None


def test_streams_do_not_share_memory():
    """A block freed on one stream does not serve another, so two segments are needed."""
    recording = make_recording(
        ("alloc", A, 30 * MIB, 0), ("free_requested", A, 30 * MIB, 0), ("free_completed", A, 30 * MIB, 0),
        ("alloc", B, 30 * MIB, 9),
    )  # fmt: skip
    _, outcome = ask(recording, question())
    assert 60 * MIB == outcome.peak_reserved_bytes


def test_a_pending_free_is_completed_once():
    """A retry completes a pending free; its recorded completion later does not free the block's successor."""
    recording = make_recording(
        ("alloc", A, 40 * MIB), ("free_requested", A, 40 * MIB), ("alloc", B, 60 * MIB),
        ("free_completed", A, 40 * MIB), ("alloc", C, 20 * MIB),
    )  # fmt: skip
    _, outcome = ask(recording, question(mib=80))
    assert (None, 1, 80 * MIB) == (outcome.oom, outcome.retries, outcome.peak_reserved_bytes)


def test_fragmentation_is_measured_where_most_is_reserved():
    """20 MiB of 60 are free between blocks in use when the last segment comes."""
    recording = make_recording(
        ("alloc", A, 5 * MIB), ("alloc", A + 5 * MIB, 5 * MIB), ("alloc", A + 10 * MIB, 5 * MIB),
        *free(A + 5 * MIB, 5), ("alloc", B, 40 * MIB), *free(B, 40),
    )  # fmt: skip
    _, outcome = ask(recording, question())
    assert (60 * MIB, 10 * MIB, 10 * MIB) == (
        outcome.peak_reserved_bytes, outcome.unused_bytes, outcome.inactive_split_bytes,
    )  # fmt: skip
    assert (5, 2, 5 * MIB) == (outcome.peak.event, outcome.segments, outcome.peak.largest_free_bytes)


def test_holders_add_up_to_what_is_allocated(native_path):
    """Every block in use belongs to one frame."""
    (recorded,) = ask(open_recording(native_path))
    assert recorded.peak.allocated_bytes == sum(holder.size_bytes for holder in recorded.peak.holders)
    assert all(h.frame not in {NO_FRAME, BEFORE_RECORDING} for h in recorded.peak.holders)


def test_the_course_has_the_peaks(native_path):
    """The highest values of the stretches are the peaks of the whole."""
    (recorded,) = ask(open_recording(native_path))
    assert recorded.course.peaks == (
        recorded.peak_allocated_bytes, recorded.peak_requested_bytes, recorded.peak_reserved_bytes,
    )  # fmt: skip
    assert (recorded.course.allocated <= recorded.course.reserved).all()


def test_json_holds_no_course_and_no_blocks(native_path):
    """One object a column, of plain values."""
    data = replay_recording(open_recording(native_path), [question()], name="x").to_json()
    assert ["as recorded", ""] == [column["label"] for column in data["columns"]]
    assert {"course", "peak"}.isdisjoint(data["columns"][0])
    assert data["columns"][0]["top_holders"][0]["size_bytes"] > 0


# -- mid-run -----------------------------------------------------------------------------------------------


def cut(path, at):
    """Return a recording without its first events."""
    whole = open_recording(path)
    return Recording(
        config=whole.config,
        torch_version=whole.torch_version,
        from_empty=False,
        events=whole.events[at:],
        final=whole.final,
        stacks=whole.stacks,
    )


@pytest.mark.parametrize("at", [30, 150, 200, 300, 387])
def test_a_recording_without_its_beginning_is_rewound(native_path, at):
    """Wherever it begins, the rewound start leads to the recorded addresses and to the recorded end."""
    found = verify(cut(native_path, at))
    assert found.is_exact
    assert not found.from_empty


@pytest.mark.parametrize("at", [30, 200, 380, 409])
def test_expandable_segments_are_rewound_across_unmapping(expandable_path, at):
    """Ranges that were unmapped since are put back."""
    found = verify(cut(expandable_path, at))
    assert (None, True) == (found.first_mismatch, found.final_state_equal)


def test_blocks_from_before_are_told_apart(native_path):
    """What the recording did not see allocated has no frame, and says so."""
    (recorded,) = ask(cut(native_path, 200))
    assert BEFORE_RECORDING in {holder.frame for holder in recorded.peak.holders}


def test_another_kind_of_segments_asks_for_the_start_anew(native_path):
    """The blocks of the start are allocated again under expandable segments, and the output says so."""
    replay = replay_recording(cut(native_path, 200), [question("expandable_segments:True")])
    recorded, other = replay.outcomes
    assert recorded.peak_requested_bytes == other.peak_requested_bytes
    assert any("asked for anew" in note for note in replay.notes)


def test_a_start_that_does_not_fit_is_out_of_memory_at_once(native_path):
    """What was held at the start is more than the device has."""
    _, outcome = ask(cut(native_path, 200), question(mib=10))
    assert outcome.oom is not None
    assert (-1, 0) == (outcome.oom.event, outcome.events)


def test_a_full_buffer_is_suspected(snapshot, write):
    """A round number of events that begin mid-run: the buffer was full, and the remedy is named."""
    trace = snapshot["device_traces"][0]
    snapshot["device_traces"] = [
        [*({**trace[-1], "action": "snapshot"} for _ in range(1100 - len(trace))), *trace[100:]]
    ]
    (note,) = open_recording(write(snapshot)).notes
    assert "look like a full buffer: with max_entries=1000" in note


# -- questions ---------------------------------------------------------------------------------------------


def test_a_device_gives_its_memory_less_the_context():
    """24 GiB are the total, and what the CUDA context takes cannot be reserved."""
    (question,) = make_questions(capacity="24GiB")
    assert 24 * GIB == question.total_bytes
    assert 24 * GIB - custom_gpu(24 * GIB).context_bytes == question.available_bytes
    assert "recorded settings on 24.00 GiB" == question.label


def test_each_comparison_is_a_column():
    """The settings asked for come first, then each of those to compare."""
    questions = make_questions(alloc_conf="", compare=("expandable_segments:True", "max_split_size_mb:128"))
    assert ["PyTorch's defaults", "expandable_segments:True", "max_split_size_mb:128"] == [
        question.label for question in questions
    ]


def test_a_gpu_and_a_capacity_exclude_each_other():
    """Both say how much memory there is."""
    with pytest.raises(UsageError, match="not both"):
        make_questions(gpu="RTX 3090", capacity="24GiB")


def test_the_memory_of_a_replay_does_not_grow_with_its_events(native_path):
    """Sixteen times the events take no more than a fixed amount more."""
    once = open_recording(native_path)
    rows = [event for event in once.events if event.action.startswith(("alloc", "free"))]
    used = {event.address for event in rows}
    ends = [
        Event(action, address, 0, 0)
        for address in sorted(used)
        for action in ("free_requested", "free_completed")
    ]
    most = []
    for times in (16, 256):
        recording = Recording(
            config=once.config, torch_version=(2, 11), from_empty=True, final=(),
            events=Events.of([*rows, *ends] * times),
        )  # fmt: skip
        tracemalloc.start()
        watch(WhatIfReplay(recording, Question(label="")))
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < most[0] + MIB


def test_the_recordings_in_the_repository_can_be_made_again(tmp_path, native_path, expandable_path):
    """The script beside them gives the same snapshots."""
    script = native_path.with_name("make_recordings.py")
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    for path in (native_path, expandable_path):
        made = (tmp_path / path.name).read_bytes()
        assert pickle.loads(path.read_bytes()) == pickle.loads(made)  # noqa: S301 - files of this repository


def test_a_device_is_asked_about_with_the_recorded_settings_too():
    """`--capacity` with `--compare`: the recorded settings on that device, then each of the others."""
    questions = make_questions(capacity="24GiB", compare=("expandable_segments:True",))

    assert [
        "recorded settings on 24.00 GiB",
        "expandable_segments:True on 24.00 GiB",
    ] == [question.label for question in questions]
