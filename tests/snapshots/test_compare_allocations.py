"""What a recorded run and its prediction do not have in common."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.hardware import Workspaces
from actprof.replay.program import build_program
from actprof.snapshots.compare_allocations import (
    Request,
    compare_allocations,
    predicted_requests,
    ran_out,
    recorded_requests,
)
from actprof.snapshots.recording import open_recording

PREDICTED = [Request(512 * (3 + index % 7), f"op {index % 5}") for index in range(300)]
SCRATCH = Request(12_345, "model.py:7 forward")
DATA = Path(__file__).parents[1] / "data"
sequences = st.lists(st.integers(1, 3), max_size=12)


def test_equal_runs_have_nothing_to_tell():
    """Who asked does not matter, and a recording may go on."""
    recorded = [Request(request.size_bytes, "frame") for request in PREDICTED]
    assert () == compare_allocations(PREDICTED, recorded)
    assert () == compare_allocations(PREDICTED, [*recorded, SCRATCH])


def test_what_only_the_recording_has_is_found_with_its_frame():
    """Wherever it stands, at the start, in the middle, several times in a row."""
    recorded = list(PREDICTED)
    for place in (299, 150, 150, 0):
        recorded.insert(place, SCRATCH)

    (row,) = compare_allocations(PREDICTED, recorded)
    assert ("recorded", "model.py:7 forward", 4) == (row.side, row.who, row.count)
    assert (4 * 12_345, 12_345) == (row.size_bytes, row.largest_bytes)


def test_what_has_no_frame_is_named_by_what_comes_before_it():
    """The reverse pass is C++: a workspace there stands after the output of its op."""
    recorded = [Request(request.size_bytes, "") for request in PREDICTED]
    recorded.insert(102, Request(12_345, ""))

    (row,) = compare_allocations(PREDICTED, recorded)
    assert ("recorded", f"after {PREDICTED[101].who}", 12_345) == (row.side, row.who, row.size_bytes)


def test_what_only_the_prediction_has_is_found_with_its_op():
    """A workspace that the real run did not take."""
    predicted = [*PREDICTED[:100], SCRATCH, *PREDICTED[100:]]
    (row,) = compare_allocations(predicted, PREDICTED)
    assert ("predicted", 1) == (row.side, row.count)


def test_a_changed_size_is_one_of_each_and_the_largest_comes_first():
    """Nothing else is drawn into it."""
    recorded = list(PREDICTED)
    recorded[40] = Request(99_999, "larger")
    recorded[200:200] = [SCRATCH]

    rows = compare_allocations(PREDICTED, recorded)
    assert ["larger", "model.py:7 forward", PREDICTED[40].who] == [row.who for row in rows]


def test_extras_however_close_are_told_from_what_was_predicted():
    """A convolution takes workspaces between any two requests; nothing else is drawn into it."""
    rng = random.Random(7)  # noqa: S311 - any numbers do
    sizes = [512 * rng.randint(1, 9) for _ in range(900)]
    predicted = [Request(size, "op") for size in sizes]
    recorded = [r for size in sizes for r in (*[SCRATCH] * rng.randint(0, 3), Request(size, "frame"))]

    (row,) = compare_allocations(predicted, [*recorded, *recorded[-300:]])
    assert ("recorded", SCRATCH.who, len(recorded) - 900) == (row.side, row.who, row.count)


def test_a_recording_that_ran_out_ends_where_it_did():
    """What would have come after is no difference; what is missing before is."""
    recorded = PREDICTED[:120]

    assert () == compare_allocations(PREDICTED, recorded, cut_off=True)
    (row,) = compare_allocations(PREDICTED, [*recorded[:60], SCRATCH, *recorded[60:]], cut_off=True)
    assert ("recorded", 1) == (row.side, row.count)
    (row,) = compare_allocations([*PREDICTED[:60], SCRATCH, *PREDICTED[60:]], recorded, cut_off=True)
    assert ("predicted", 1) == (row.side, row.count)


@pytest.mark.parametrize(("name", "expected"), [("expandable-oom", True), ("native-retry", False)])
def test_a_recording_tells_whether_it_ran_out(name, expected):
    """A request that was refused, and none granted after it; a snapshot can be compared with any cell."""
    recording = open_recording(DATA / f"{name}.pickle")

    assert expected == ran_out(recording)
    assert recorded_requests(recording)
    assert all(request.size_bytes > 0 for request in recorded_requests(recording))


@given(sequences, sequences)
def test_as_little_as_possible_is_left_over(left, right):
    """No more than a longest common subsequence by the book leaves, and both sides account for all."""
    rows = compare_allocations([Request(s, "p") for s in left], [Request(s, "r") for s in right])
    count = {row.side: row.count for row in rows}
    over = len(left) - count.get("predicted", 0)

    assert 0 <= over <= common_by_the_book(left, right)
    ends = [n for n in range(len(right) + 1) if common_by_the_book(left, right[:n]) == over]
    assert any(n - over == count.get("recorded", 0) for n in ends)


def common_by_the_book(left, right):
    """Return the length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for one in left:
        before = row[:]
        for place, other in enumerate(right):
            row[place + 1] = before[place] + 1 if one == other else max(row[place], before[place + 1])
    return row[-1]


def test_runs_that_have_nothing_in_common_end():
    """All of both."""
    rows = compare_allocations([Request(1, "a")] * 9, [Request(2, "b")] * 7)
    assert {("predicted", 9), ("recorded", 7)} == {(row.side, row.count) for row in rows}


def test_the_prediction_of_a_trace_has_its_workspaces(make_trace):
    """In the order of the program, sizes at the batch size."""
    trace = make_trace()
    requests = predicted_requests(trace, build_program(trace, 4, Workspaces(cublas_bytes=777)))

    assert [1 << 20, 4 * 4096] == [request.size_bytes for request in requests[:2]]
    assert [777, 777] == [
        request.size_bytes for request in requests if request.who.startswith("workspace of")
    ]
