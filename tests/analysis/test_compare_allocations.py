"""What a recorded run and its prediction do not have in common."""

from __future__ import annotations

from actprof.allocator.program import Workspaces
from actprof.analysis.compare_allocations import Request, compare_allocations, predicted_requests

PREDICTED = [Request(512 * (3 + index % 7), f"op {index % 5}") for index in range(300)]
SCRATCH = Request(12_345, "model.py:7 forward")


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


def test_runs_that_have_nothing_in_common_end():
    """All of both."""
    rows = compare_allocations([Request(1, "a")] * 9, [Request(2, "b")] * 7)
    assert {("predicted", 9), ("recorded", 7)} == {(row.side, row.count) for row in rows}


def test_the_prediction_of_a_trace_has_its_workspaces(make_trace):
    """In the order of the program, sizes at the batch size."""
    requests = predicted_requests(make_trace(), 4, Workspaces(cublas_bytes=777))

    assert [1 << 20, 4 * 4096] == [request.size_bytes for request in requests[:2]]
    assert [777, 777] == [request.size_bytes for request in requests if request.who == "workspace"]
