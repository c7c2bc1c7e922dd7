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
from actprof.allocator.recording import load_recording, replay_recording
from actprof.errors import StoreError

MIB = 1024**2
FOLDER = Path(
    os.environ.get("ACTPROF_TRACES", Path(__file__).resolve().parents[2].parent / "shared" / "traces")
)
FILES = sorted(FOLDER.glob("*.json.gz"))
ACTIONS = ["alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "oom"]
needs_traces = pytest.mark.skipif(not FILES, reason=f"no recordings in {FOLDER}; set ACTPROF_TRACES")


@pytest.fixture(scope="module")
def replays():
    recordings = {path.name: load_recording(path) for path in FILES}
    return {name: (recording, replay_recording(recording)) for name, recording in recordings.items()}


@needs_traces
def test_recordings_from_the_start_replay_exactly(replays):
    """Every recording that starts from an empty allocator gives its addresses, segments, peaks and end."""
    from_empty = {name: replay for name, (recording, replay) in replays.items() if recording.from_empty}
    assert from_empty
    assert {name: replay for name, replay in from_empty.items() if not replay.is_exact} == {}


@needs_traces
def test_recordings_from_mid_run_replay(replays):
    """Of the others all segments are right, and but for starts that cannot be known all addresses."""
    results = [replay for recording, replay in replays.values() if not recording.from_empty]
    total = sum(replay.allocations for replay in results)
    assert sum(replay.segment_allocs for replay in results) == sum(r.segment_allocs_matching for r in results)
    assert sum(replay.segment_frees for replay in results) == sum(r.segment_frees_matching for r in results)
    assert sum(replay.allocations_matching for replay in results) >= 0.9999 * total


@needs_traces
def test_the_place_of_segments_does_not_move_the_peak(replays):
    """With the default addresses instead of the recorded ones, native peaks are the same."""
    native = [recording for recording, _ in replays.values() if not recording.config.expandable_segments]
    exact = [recording for recording in native if recording.from_empty]
    assert exact
    assert [r.peaks.reserved_bytes for r in exact] == [peak_reserved(r) for r in exact]


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
    replay = replay_recording(load_recording(path))
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
    replay = replay_recording(load_recording(write(tmp_path / "a.gz", EVENTS[3:], FINAL, expected=expected)))
    assert replay.is_exact
    assert (replay.allocations, replay.allocations_matching, replay.segment_allocs) == (1, 1, 0)


def test_a_wrong_address_is_told(tmp_path):
    """The first event that differs is named with both addresses, and the replay goes on."""
    wrong = [*EVENTS[:-1], ("alloc", BASE + 12 * MIB, 2 * MIB, 0)]
    replay = replay_recording(load_recording(write(tmp_path / "a.gz", wrong, FINAL)))
    assert not replay.is_exact
    assert (replay.allocations, replay.allocations_matching) == (3, 2)
    assert (
        f"event 5 (alloc of {2 * MIB} bytes at {BASE + 12 * MIB:#x}): the simulation gives {BASE:#x}"
        == replay.first_mismatch
    )


def test_a_missing_segment_is_told(tmp_path):
    """A segment that the simulation needs but the recording lacks counts as a mismatch."""
    replay = replay_recording(load_recording(write(tmp_path / "a.gz", EVENTS[1:], FINAL)))
    assert replay.first_mismatch is not None
    assert "instead of []" in replay.first_mismatch


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
    replay = replay_recording(load_recording(path))
    assert replay.is_exact, replay
    assert (replay.segment_frees, replay.segment_frees_matching) == (1, 1)


def test_another_file_is_refused(tmp_path):
    """The error names the file."""
    path = tmp_path / "other.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"actions": []}, file)
    with pytest.raises(StoreError, match=r"other\.json\.gz"):
        load_recording(path)
