"""Rows of the accuracy ledger, and what they say together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.allocator.profile import OutOfMemory
from actprof.analysis.accuracy import (
    AccuracyRow,
    Figures,
    figures_of,
    row_of,
    summarise,
    worst_first,
)
from actprof.errors import UsageError
from actprof.measure.measurement import CardUse, DeviceFacts, Measurement, Spread
from actprof.results import GpuUse, Result
from actprof.scenario.cell import Cell
from actprof.units import GIB, MIB

CELL = Cell(batch_size=8)
DEVICE = DeviceFacts(type="cuda", name="NVIDIA GeForce RTX 3090", driver="580.95", cuda="12.8", cudnn="9.1.0")
RUN = Measurement(
    command="actprof measure", date="2026-01-02", card=CardUse(samples=9, process_bytes=11 * GIB)
)
MESSAGE = (
    "CUDA out of memory. Tried to allocate 76.00 MiB. GPU 0 has a total capacity of 23.69 GiB of which "
    "1.00 GiB is free. Including non-PyTorch memory, this process has 20.94 GiB memory in use."
)
OOM = OutOfMemory(
    step=1, phase="forward", module="", op="", requested_bytes=75 * MIB, segment_bytes=76 * MIB,
    allocated_bytes=1, reserved_bytes=1, message=MESSAGE,
)  # fmt: skip


def result(source="measured", **fields):
    """Return a result of 10 GiB allocated, 10.5 GiB reserved, 11 GiB in all."""
    known = {
        "source": source, "cell": CELL, "verdict": "fits",
        "gpu": GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=GIB // 2),
        "peak_allocated_bytes": 10 * GIB, "peak_reserved_bytes": 10 * GIB + GIB // 2,
        "peak_process_bytes": 11 * GIB,
    }  # fmt: skip
    own = {"device": DEVICE, "measurement": RUN, "versions": {"torch": "2.11.0"}}
    return Result(**{**known, **(own if source == "measured" else {}), **fields})


def make_row(*, off=0.0, number="allocated", origin="measured", gpu="RTX 3090", **fields):
    """Return a row of which one number, of 1000 MiB, is `off` percent off."""
    name = f"{number}_bytes"
    measured = 1000 * MIB
    figures = {
        "predicted": Figures(**{name: round(measured * (1 + off / 100))}),
        "measured": Figures(**{name: measured}),
    }
    return AccuracyRow(**{"cell": CELL, "origin": origin, "gpu": gpu, **figures, **fields})


def judged(said, was, **fields):
    """Return a row of a verdict and what became of the run."""
    return make_row(predicted=Figures(verdict=said), measured=Figures(verdict=was), **fields)


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


def test_a_step_is_compared_of_runs_on_the_gpu_itself():
    """Not of one that ran out, nor of a GPU that stood in for another."""
    step = Spread(low=0.4, median=0.5, high=0.7)

    assert 0.5 == figures_of(result(step_seconds=step)).step_seconds
    assert figures_of(result(step_seconds=step, verdict="oom", oom=OOM)).step_seconds is None
    capped = replace(RUN, cap_bytes=GIB)
    assert figures_of(result(step_seconds=step, measurement=capped)).step_seconds is None
    assert 0.5 == figures_of(result("predicted", step_seconds=step)).step_seconds


def test_published_digits_leave_a_difference_open():
    """What is left of a difference beyond half a unit of the last digit; without sign, never below zero."""
    row = make_row(off=-2.0, resolution_bytes={"allocated": 5 * MIB})

    assert 15 * MIB == row.beyond_resolution_bytes("allocated")
    assert 0 == replace(row, resolution_bytes={"allocated": GIB}).beyond_resolution_bytes("allocated")


def test_a_row_of_two_results_has_the_run_beside_its_prediction():
    """Device, versions, driver, date and command are the measurement's."""
    row = row_of(result("predicted", max_batch_size=57), result(), notes="a workspace of 96.00 MiB")

    assert ("measured", "NVIDIA GeForce RTX 3090") == (row.origin, row.gpu)
    assert {"torch": "2.11.0", "driver": "580.95", "cuda": "12.8", "cudnn": "9.1.0"} == row.versions
    assert ("2026-01-02", "actprof measure") == (row.date, row.command)
    assert "a workspace of 96.00 MiB" == row.notes
    assert (57, 10 * GIB) == (row.predicted.max_batch_size, row.predicted.allocated_bytes)
    assert 0.0 == row.worst_percent
    assert row.verdict_agrees


def test_results_of_different_cells_make_no_row():
    """Batch size 16 says nothing about batch size 8."""
    with pytest.raises(UsageError, match="says nothing about"):
        row_of(result("predicted", cell=replace(CELL, batch_size=16)), result())


def test_an_origin_that_does_not_exist_is_refused():
    """There are two."""
    with pytest.raises(UsageError, match="'guessed' is not an origin; choose one of measured, published"):
        make_row(origin="guessed")


def test_a_run_that_ran_out_has_no_peaks_but_its_message():
    """It ended before them; tried and in use are what PyTorch said."""
    figures = figures_of(result(verdict="oom", oom=OOM))

    assert Figures(verdict="oom", tried_bytes=76 * MIB, in_use_bytes=round(20.94 * GIB)) == figures


def test_a_predicted_run_that_runs_out_keeps_its_peaks():
    """They are of a device without limit."""
    assert 10 * GIB == figures_of(result("predicted", verdict="oom", oom=OOM)).allocated_bytes


def test_a_run_that_flushed_its_cache_has_no_reserved_bytes_to_compare():
    """They show the device's limit; allocated bytes do not."""
    figures = figures_of(result(retries=1))

    assert (10 * GIB, None, None) == (
        figures.allocated_bytes, figures.reserved_bytes, figures.process_bytes,
    )  # fmt: skip


@pytest.mark.parametrize(
    "run", [None, Measurement(), replace(RUN, cap_bytes=GIB), replace(RUN, card=CardUse(samples=3))]
)
def test_a_process_is_compared_only_where_it_was_seen_on_the_cells_own_gpu(run):
    """Not where NVML did not name it, nor where a larger GPU stood in."""
    figures = figures_of(result(measurement=run))

    assert (10 * GIB + GIB // 2, None) == (figures.reserved_bytes, figures.process_bytes)
    assert 11 * GIB == figures_of(result()).process_bytes


def test_a_gpu_that_stood_in_for_another_says_so():
    """The device's name, and the one that it played."""
    row = row_of(result("predicted"), result(measurement=replace(RUN, cap_bytes=GIB)))

    assert "NVIDIA GeForce RTX 3090 as RTX 3090" == row.gpu


@pytest.mark.parametrize("verdict", ["unknown", "error"])
def test_what_nobody_knows_is_not_compared(verdict):
    """No figure at all."""
    assert Figures() == figures_of(result(verdict=verdict))


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

    assert (3, 1, -2, rows[2]) == (found.n, found.exact, found.worst_difference, found.worst)


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
    assert (
        "ACT, 2 cameras 640x480, batch 8, bf16, RTX 3090, a:b, held to 2.00 GiB, 1.00 GiB used by others"
    ) == make_row(cell=cell).name
    cell = replace(CELL, optimizer="adam", changes=("checkpoint_encoder",), cudnn_benchmark=False)
    assert make_row(cell=cell).name.endswith("adam, checkpoint_encoder, RTX 3090, cudnn.benchmark off")


def test_a_row_comes_back_from_its_json():
    """Equal, with nothing in the text that nobody knows."""
    row = make_row(off=1.0, versions={"torch": "2.11.0", "driver": "580"}, notes="because")
    data = row.to_json()

    assert row == AccuracyRow.from_json(data)
    assert {"allocated_bytes"} == set(data["measured"])
    assert ["driver", "torch"] == list(data["versions"])


def test_the_summary_as_json_names_rows_and_lists_them_once():
    """Rows in full with their differences; elsewhere their names."""
    data = summarise([make_row(off=1.0)]).to_json()

    assert make_row().name == data["allocated"]["worst"]
    assert [make_row().name] == data["unexplained"]
    assert 10 * MIB == data["rows"][0]["difference_bytes"]["allocated"]
    assert 0 == data["verdicts"]["n"]
