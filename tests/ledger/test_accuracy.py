"""Rows of the accuracy ledger, and what they say together."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import CELL, judged, make_row

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.ledger.accuracy import summarise, worst_first
from actprof.ledger.comparison import Figures
from actprof.ledger.row import AccuracyRow
from actprof.units import GIB, MIB


def test_differences_are_predicted_minus_measured():
    """A prediction that is too large is positive, in bytes and in percent of what was measured."""
    row = make_row(off=2.0)

    assert 20 * MIB == row.difference_bytes("allocated")
    assert 2.0 == pytest.approx(row.difference_percent("allocated"))
    assert -2.0 == pytest.approx(make_row(off=-2.0).difference_percent("allocated"))
    assert (None, None) == (row.difference_bytes("reserved"), row.difference_percent("reserved"))


def test_seconds_of_a_step_have_a_summary_of_their_own():
    """In percent of what was measured; they move no row in the order of memory."""
    slow = make_row(predicted=Figures(step_seconds=0.5), measured=Figures(step_seconds=0.4), gpu="A")
    fast = make_row(predicted=Figures(step_seconds=0.38), measured=Figures(step_seconds=0.4), gpu="B")
    found = summarise([slow, fast, make_row(off=1.0)])

    assert (25.0, -5.0) == pytest.approx((slow.step_percent, fast.step_percent))
    assert make_row().step_percent is None
    assert (2, slow) == (found.step.n, found.step.worst)
    assert (15.0, 25.0) == pytest.approx((found.step.median_percent, found.step.worst_percent))
    assert 0.0 == slow.worst_percent
    assert 25.0 == pytest.approx(found.to_json()["rows"][1]["difference_percent"]["step"])


def test_published_digits_leave_a_difference_open():
    """What is left of a difference beyond half a unit of the last digit; without sign, never below zero."""
    row = make_row(off=-2.0, resolution_bytes={"allocated": 5 * MIB})

    assert 15 * MIB == row.beyond_band_bytes("allocated")
    assert 0 == replace(row, resolution_bytes={"allocated": GIB}).beyond_band_bytes("allocated")
    assert (True, False) == tuple(
        replace(row, resolution_bytes={"allocated": size}).is_exact("allocated") for size in (GIB, MIB)
    )


def test_an_origin_that_does_not_exist_is_refused():
    """There are two."""
    with pytest.raises(UsageError, match="'guessed' is not an origin; choose one of measured, published"):
        make_row(origin="guessed")


@pytest.mark.parametrize(
    ("said", "was", "agrees", "dangerous", "cautious"),
    [
        ("fits", "fits", True, False, False),
        ("fits", "tight", True, False, False),
        ("tight", "ran", True, False, False),
        ("oom", "oom", True, False, False),
        ("fits", "oom", False, True, False),
        ("tight", "oom", False, True, False),
        ("oom", "ran", False, False, True),
        ("", "ran", None, False, False),
        ("fits", "", None, False, False),
    ],
)
def test_the_two_kinds_of_wrong_verdict_are_told_apart(said, was, agrees, dangerous, cautious):
    """A run that was said to fit and ran out is another matter than one that ran against the verdict."""
    row = judged(said, was)

    assert (agrees, dangerous, cautious) == (row.verdict_agrees, row.said_runs_ran_out, row.said_oom_ran)


def test_differences_without_a_cause_are_unexplained():
    """Above 0.1 % of allocated, 1 % of reserved; of the process only where reserved is not known."""
    assert () == make_row(off=0.09).unexplained
    assert ("allocated",) == make_row(off=-0.11).unexplained
    assert () == make_row(off=0.9, number="reserved").unexplained
    assert ("reserved",) == make_row(off=1.1, number="reserved").unexplained
    assert ("process",) == make_row(off=1.1, number="process").unexplained
    both = Figures(reserved_bytes=100 * MIB, process_bytes=100 * MIB)
    row = make_row(predicted=replace(both, process_bytes=150 * MIB), measured=both)
    assert () == row.unexplained


def test_notes_and_published_digits_explain_a_difference():
    """Either is enough."""
    assert () == make_row(off=3.0, notes="a workspace of 30.00 MiB").unexplained
    assert () == make_row(off=3.0, resolution_bytes={"allocated": 30 * MIB}).unexplained


def test_the_summary_has_median_95_percent_and_worst():
    """Of 20 rows that are 1 to 20 % off, the 19th is the one that 95 % do not exceed; signs do not matter."""
    rows = [make_row(off=(-1) ** n * float(n), gpu=f"GPU {n}") for n in range(1, 21)]
    errors = summarise(rows).allocated

    assert (20, rows[-1]) == (errors.n, errors.worst)
    assert (10.5, 19.0, 20.0) == pytest.approx(
        (errors.median_percent, errors.p95_percent, errors.worst_percent)
    )


def test_of_few_rows_95_percent_are_all_of_them():
    """Nearest rank: there is no row between the largest and the next."""
    errors = summarise([make_row(off=1.0), make_row(off=3.0), make_row(off=2.0)]).allocated

    assert errors.worst_percent == errors.p95_percent == pytest.approx(3.0)


def test_without_rows_there_is_nothing_to_say():
    """No number, no verdict, no worst row."""
    found = summarise([])

    assert (0, None, None) == (found.allocated.n, found.allocated.median_percent, found.allocated.worst)
    assert (0, 0, 0) == (found.boundaries.n, found.verdicts.n, len(found.unexplained))


def test_boundaries_are_exact_or_not():
    """Counted, with the worst difference and its sign."""
    rows = [
        make_row(
            predicted=Figures(max_batch_size=57 + off), measured=Figures(max_batch_size=57), gpu=str(off)
        )
        for off in (0, 1, -2)
    ]
    found = summarise(rows).boundaries

    assert (3, 1, 2, -2, rows[2]) == (
        found.n, found.exact, found.within_one, found.worst_difference, found.worst,
    )  # fmt: skip


def test_wrong_verdicts_come_first_then_the_largest_percentage():
    """Said to fit and ran out, said to run out and ran, then by difference."""
    dangerous, cautious = judged("fits", "oom"), judged("oom", "ran")
    small, large = make_row(off=1.0), make_row(off=-2.0)

    assert (dangerous, cautious, large, small) == worst_first([small, cautious, large, dangerous])
    found = summarise([small, cautious, large, dangerous]).verdicts
    assert (2, 0, (dangerous,), (cautious,)) == (
        found.n, found.agree, found.said_runs_ran_out, found.said_oom_ran,
    )  # fmt: skip


def test_a_name_tells_what_sets_a_row_apart():
    """Allocator settings, a capacity and other programs belong to it."""
    cell = replace(CELL, alloc_conf="a:b", capacity_bytes=2 * GIB, used_by_others_bytes=GIB, precision="bf16")

    assert "ACT, 2 cameras 640x480, batch 8, RTX 3090" == make_row().name
    small = replace(CELL, overrides={"use_vae": False, "chunk_size": 50}, action_dim=14)
    named = make_row(cell=small, held_to_bytes=GIB).name
    assert (
        "ACT, 2 cameras 640x480, batch 8, chunk_size=50, use_vae=False, action 14, RTX 3090, "
        "limited to 1.00 GiB"
    ) == named
    assert (
        "ACT, 2 cameras 640x480, batch 8, bf16, RTX 3090, a:b, limited to 2.00 GiB, 1.00 GiB used by others"
    ) == make_row(cell=cell).name
    cell = replace(CELL, optimizer="adam", changes=("checkpoint_encoder",), cudnn_benchmark=False)
    assert make_row(cell=cell).name.endswith("adam, checkpoint_encoder, RTX 3090, cudnn.benchmark off")


@given(data=st.data())
def test_rows_of_different_cells_have_different_names(data):
    """Whatever field of the cell it is that differs; the GPU is the row's own."""
    fields = {
        "cameras": st.integers(1, 3),
        "resolution": st.sampled_from(["640x480", "224x224"]),
        "batch_size": st.sampled_from([8, 16]),
        "overrides": st.dictionaries(
            st.sampled_from(["chunk_size", "use_vae"]), st.sampled_from([50, False])
        ),
        "state_dim": st.sampled_from([6, 14]),
        "action_dim": st.sampled_from([6, 14]),
        "precision": st.sampled_from(["fp32", "bf16"]),
        "optimizer": st.sampled_from(["preset", "sgd"]),
        "alloc_conf": st.sampled_from(["", "expandable_segments:True"]),
        "capacity_bytes": st.sampled_from([None, 8 * GIB]),
        "used_by_others_bytes": st.sampled_from([0, GIB]),
        "cudnn_benchmark": st.booleans(),
        "changes": st.sampled_from([(), ("channels_last",)]),
    }
    cells = st.builds(Cell, **fields)
    one, other = data.draw(cells), data.draw(cells)

    assert (one == other) == (make_row(cell=one).name == make_row(cell=other).name)


def test_a_row_comes_back_from_its_json():
    """Equal, with nothing in the text that nobody knows."""
    row = make_row(off=1.0, versions={"torch": "2.11.0", "driver": "580"}, notes="because")
    row = replace(row, predicted=replace(row.predicted, reserved_band_bytes=(1, 2)))
    data = json.loads(json.dumps(row.to_json()))

    assert row == AccuracyRow.from_json(data)
    assert {"allocated_bytes"} == set(data["measured"])
    assert not {"run", "held_to_bytes", "cublas_workspace_bytes"} & set(data)
    held = replace(row, run="first", held_to_bytes=GIB, cublas_workspace_bytes=MIB)
    assert held == AccuracyRow.from_json(json.loads(json.dumps(held.to_json())))
    assert ["driver", "torch"] == list(data["versions"])


def test_the_summary_as_json_names_rows_and_lists_them_once():
    """Rows in full with their differences; elsewhere their names."""
    data = summarise([make_row(off=1.0)]).to_json()

    assert make_row().name == data["allocated"]["worst"]
    assert [make_row().name] == data["unexplained"]
    assert 10 * MIB == data["rows"][0]["difference_bytes"]["allocated"]
    assert 0 == data["verdicts"]["n"]
