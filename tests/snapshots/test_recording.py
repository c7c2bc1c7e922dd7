"""Recorded runs of the real allocator replay address by address.

The recordings do not travel with the project: they are looked for beside it, or where ACTPROF_TRACES says.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from actprof.allocator import CachingAllocator
from actprof.errors import StoreError
from actprof.snapshots.recording import began_empty, load_recording
from actprof.snapshots.replay_recording import replay_recording
from actprof.snapshots.verify import Peaks, verify
from actprof.snapshots.what_if_replay import Question

MIB = 1024**2
FOLDER = Path(
    os.environ.get("ACTPROF_TRACES", Path(__file__).resolve().parents[2].parent / "shared" / "traces")
)
FILES = sorted(FOLDER.glob("*.json.gz"))
ACTIONS = ["alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "oom"]
needs_traces = pytest.mark.skipif(not FILES, reason=f"no recordings in {FOLDER}; set ACTPROF_TRACES")


def expected_peaks(name):
    """Return the peaks that the file itself gives, as somebody else found them."""
    with gzip.open(FOLDER / name, "rt", encoding="utf-8") as file:
        peak = json.load(file)["expected"]["peak"]
    return Peaks(
        allocated_bytes=peak["alloc"], requested_bytes=peak["requested"], reserved_bytes=peak["reserved"]
    )


@pytest.fixture(scope="module")
def replays():
    recordings = {path.name: load_recording(path) for path in FILES}
    return {name: (recording, verify(recording)) for name, recording in recordings.items()}


@needs_traces
def test_recordings_from_the_start_replay_exactly(replays):
    """Every recording that starts from an empty allocator gives its addresses, segments, peaks and end."""
    from_empty = {name: replay for name, (recording, replay) in replays.items() if recording.from_empty}
    assert from_empty
    assert {name: replay for name, replay in from_empty.items() if not replay.is_exact} == {}


@needs_traces
def test_recordings_from_mid_run_replay(replays):
    """Of each other one all segments and 99.9 % of the addresses are right, unless its start is ambiguous."""
    results = {name: replay for name, (recording, replay) in replays.items() if not recording.from_empty}
    assert results
    for replay in results.values():
        assert replay.segment_allocs == replay.segment_allocs_matching
        assert replay.segment_frees == replay.segment_frees_matching
    unsure = [r for r in results.values() if r.allocations_matching < 0.999 * r.allocations]
    assert all(replay.to_json()["ambiguous_start"] for replay in unsure)
    total = sum(replay.allocations for replay in results.values())
    assert sum(replay.allocations_matching for replay in results.values()) >= 0.9999 * total


@needs_traces
def test_recordings_tell_their_beginning_and_peaks(replays):
    """Whether a recording starts empty, and its peaks, follow from its events alone."""
    assert {} == {
        name: recording
        for name, (recording, replay) in replays.items()
        if recording.from_empty != began_empty(recording.events, recording.final)
        or (expected_peaks(name) != replay.peaks_recorded and not replay.guessed_blocks)
    }


@needs_traces
def test_under_its_own_settings_a_recording_repeats_itself(replays):
    """Requests alone, with the recorded releases, give the recorded peaks in nearly all native recordings."""
    native = [r for r, _ in replays.values() if not r.config.expandable_segments and r.from_empty]
    questions = [Question(label="again")]
    pairs = [replay_recording(recording, questions).outcomes for recording in native]
    assert [old.peak_reserved_bytes for old, _ in pairs] == [new.peak_reserved_bytes for _, new in pairs]


@needs_traces
def test_the_place_of_segments_does_not_move_the_peak(replays):
    """With the default addresses instead of the recorded ones, native peaks are the same."""
    native = {
        n: recording for n, (recording, _) in replays.items() if not recording.config.expandable_segments
    }
    exact = {name: recording for name, recording in native.items() if recording.from_empty}
    assert exact
    assert [expected_peaks(n).reserved_bytes for n in exact] == [peak_reserved(r) for r in exact.values()]


def peak_reserved(recording):
    allocator = CachingAllocator(recording.config, torch_version=recording.torch_version)
    live = {}
    for event in recording.events:
        if event.action == "alloc":
            live[event.address] = allocator.malloc(event.size_bytes, event.stream)
        elif event.action == "free_completed":
            allocator.free(live.pop(event.address))
    return allocator.peak_reserved_bytes


def write(path, events, segments, **changes):
    """Write a recording of `events`, given as (action, address, bytes, stream)."""
    data = {
        "actions": ACTIONS,
        "events": [[ACTIONS.index(action), *numbers] for action, *numbers in events],
        "final_segments": segments,
        "allocator_settings": {},
        "streams": {"0": 0},
        "torch": "2.11.0",
        "expected": {"from_empty": True, "peak": {"alloc": 0, "requested": 0, "reserved": 0}},
    } | changes
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(data, file)
    return path


BASE = 0x7F00_0000_0000
EVENTS = [
    ("segment_alloc", BASE, 20 * MIB, 0),
    ("alloc", BASE, 4 * MIB - 1, 0),
    ("alloc", BASE + 4 * MIB, 3 * MIB, 0),
    ("free_requested", BASE, 4 * MIB - 1, 0),
    ("free_completed", BASE, 4 * MIB - 1, 0),
    ("alloc", BASE, 2 * MIB, 0),
]
FINAL_BLOCKS = [
    [BASE, 2 * MIB, 2 * MIB, "active_allocated"],
    [BASE + 2 * MIB, 2 * MIB, 4 * MIB - 1, "inactive"],
    [BASE + 4 * MIB, 3 * MIB, 3 * MIB, "active_allocated"],
    [BASE + 7 * MIB, 13 * MIB, 0, "inactive"],
]
FINAL = [[BASE, 20 * MIB, 0, "large", False, FINAL_BLOCKS]]
PEAK = {"alloc": 7 * MIB, "requested": 7 * MIB - 1, "reserved": 20 * MIB}


def test_a_recording_replays(tmp_path):
    """Addresses, peaks and the final state of a hand-written recording come out."""
    path = write(tmp_path / "a.gz", EVENTS, FINAL, expected={"from_empty": True, "peak": PEAK})
    replay = verify(load_recording(path))
    assert replay.is_exact
    assert (
        replay.allocations,
        replay.allocations_matching,
        replay.segment_allocs,
        replay.segment_allocs_matching,
    ) == (3, 3, 1, 1)


def test_a_recording_replays_from_the_middle(tmp_path):
    """The start is found by undoing the events: here a block of 4 MiB that was freed since."""
    expected = {"from_empty": False, "peak": PEAK}
    replay = verify(load_recording(write(tmp_path / "a.gz", EVENTS[3:], FINAL, expected=expected)))
    assert replay.is_exact
    assert (replay.allocations, replay.allocations_matching, replay.segment_allocs) == (1, 1, 0)


def test_a_wrong_address_is_told(tmp_path):
    """The first event that differs is named with both addresses, and the replay goes on."""
    wrong = [*EVENTS[:-1], ("alloc", BASE + 12 * MIB, 2 * MIB, 0)]
    replay = verify(load_recording(write(tmp_path / "a.gz", wrong, FINAL)))
    assert not replay.is_exact
    assert (replay.allocations, replay.allocations_matching) == (3, 2)
    assert (
        f"event 5 (alloc of {2 * MIB} bytes at {BASE + 12 * MIB:#x}): the simulation gives {BASE:#x}"
        == str(replay.first_mismatch)
    )


def test_a_missing_segment_is_told(tmp_path):
    """A segment that the simulation needs but the recording lacks counts as a mismatch."""
    replay = verify(load_recording(write(tmp_path / "a.gz", EVENTS[1:], FINAL)))
    assert replay.first_mismatch is not None
    assert "instead of []" in str(replay.first_mismatch)


def test_a_release_and_an_out_of_memory_replay(tmp_path):
    """A recorded release gives back the free segments; a recorded failure fails."""
    block = [[BASE, 2 * MIB, 512, "active_allocated"], [BASE + 512, 2 * MIB - 512, 0, "inactive"]]
    events = [
        ("segment_alloc", BASE, 2 * MIB, 0),
        ("alloc", BASE, 512, 0),
        ("segment_alloc", BASE + 64 * MIB, 20 * MIB, 0),
        ("alloc", BASE + 64 * MIB, 20 * MIB, 0),
        ("free_requested", BASE + 64 * MIB, 20 * MIB, 0),
        ("free_completed", BASE + 64 * MIB, 20 * MIB, 0),
        ("segment_free", BASE + 64 * MIB, 20 * MIB, 0),
        ("oom", 12345, 64 * MIB, 0),
    ]
    block[0][1] = 512
    final = [[BASE, 2 * MIB, 0, "small", False, block]]
    peak = {"alloc": 20 * MIB + 512, "requested": 20 * MIB + 512, "reserved": 22 * MIB}
    path = write(tmp_path / "a.gz", events, final, expected={"from_empty": True, "peak": peak})
    replay = verify(load_recording(path))
    assert replay.is_exact, replay
    assert (replay.segment_frees, replay.segment_frees_matching) == (1, 1)


def test_another_file_is_refused(tmp_path):
    """The error names the file."""
    path = tmp_path / "other.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"actions": []}, file)
    with pytest.raises(StoreError, match=r"other\.json\.gz"):
        load_recording(path)
