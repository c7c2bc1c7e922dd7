"""Kinds of runs, bands and repeated runs in the accuracy ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_rows import CELL, make_row

from actprof.ledger.accuracy import summarise, worst_first
from actprof.ledger.comparison import Figures
from actprof.units import GIB, MIB

EXPANDABLE = replace(CELL, alloc_conf="expandable_segments:True")
FIXED = replace(CELL, cudnn_benchmark=False)


def banded(measured, *, low=990, high=1020, **fields):
    """Return a row of MiB reserved whose band is `low` to `high` around 1000, with 100 of context."""
    predicted = Figures(
        reserved_bytes=1000 * MIB, process_bytes=1100 * MIB, reserved_band_bytes=(low * MIB, high * MIB)
    )
    found = Figures(reserved_bytes=measured * MIB, process_bytes=(measured + 100) * MIB)
    return make_row(predicted=predicted, measured=found, **fields)


@pytest.mark.parametrize(
    ("measured", "holds", "beyond"), [(990, True, 0), (1020, True, 0), (989, False, 1), (1030, False, 10)]
)
def test_a_band_holds_what_lies_between_its_ends(measured, holds, beyond):
    """Both ends included; the process has the band of its reserved bytes."""
    row = banded(measured)

    assert (holds, holds) == (row.band_holds("reserved"), row.band_holds("process"))
    assert beyond * MIB == row.beyond_band_bytes("reserved") == row.beyond_band_bytes("process")
    assert (row.unexplained == ()) == (beyond <= 10)


def test_rounded_digits_count_for_the_band():
    """What the last digit leaves open may lie outside."""
    row = banded(1025)

    assert row.band_holds("reserved") is False
    assert replace(row, resolution_bytes={"reserved": 5 * MIB}).band_holds("reserved")


def test_a_run_whose_plans_are_not_chosen_by_time_has_no_band():
    """Its difference is its difference; nor has a row of before there were bands."""
    fixed, old = banded(1010, cell=FIXED), make_row(off=1.0, number="reserved")

    assert (None, 10 * MIB) == (fixed.band_holds("reserved"), fixed.beyond_band_bytes("reserved"))
    assert (None, None) == (old.band_holds("reserved"), make_row().band_holds("reserved"))


def test_a_difference_that_the_band_holds_is_not_the_worst():
    """It is what repeated runs show."""
    inside, outside = banded(1020), banded(985)

    assert (outside, inside) == worst_first([inside, outside])
    assert (0.0, ()) == (inside.worst_percent, inside.unexplained)


def test_kinds_are_kept_apart():
    """By origin, allocator and choice of plans, passes alone; own runs and fixed ones come first."""
    rows = [
        make_row(off=3.0, origin="published"),
        make_row(off=0.2),
        make_row(off=0.1, cell=FIXED),
        make_row(cell=EXPANDABLE),
        make_row(cell=replace(EXPANDABLE, cudnn_benchmark=False)),
        make_row(predicted=Figures(verdict="fits"), measured=Figures(verdict="ran")),
        make_row(off=0.3, origin="published", cell=FIXED, passes=True),
    ]
    found = summarise(rows).kinds

    assert [
        "expandable, deterministic", "expandable, benchmark", "native, deterministic", "native, benchmark",
        "native, benchmark, published", "native, deterministic, forward and backward only, published",
    ] == [kind.title for kind in found]  # fmt: skip
    assert [1, 1, 0, 0, 0, 0] == [kind.allocated.exact for kind in found]
    assert [0.0, 0.0, 0.1, 0.2, 3.0, 0.3] == pytest.approx(
        [kind.allocated.worst_percent for kind in found], abs=1e-6
    )


def test_bands_are_counted_with_their_width():
    """The width in percent of what was measured; rows outside are named."""
    rows = [banded(1000), banded(1020, gpu="A"), banded(1200, low=940, high=1060, gpu="B")]
    bands = summarise(rows).reserved_band

    assert (3, 2, (rows[2],)) == (bands.n, bands.held, bands.outside)
    assert 3.0 == pytest.approx(bands.width_percent)


def test_repeated_runs_are_found_by_their_command():
    """Lowest and highest of each; another device, capacity or batch size is another command."""
    sizes = {"allocated_bytes": MIB}
    rows = [
        replace(row, run=str(number), measured=replace(row.measured, **sizes))
        for number, row in enumerate([banded(1000), banded(1040), banded(1010), banded(900, gpu="A")])
    ]
    held = replace(rows[0], held_to_bytes=GIB)
    (found,) = summarise([*rows, held]).repeats

    assert (3, (MIB, MIB), (1000 * MIB, 1040 * MIB)) == (found.n, found.allocated, found.reserved)
    assert 40 * MIB == found.reserved[1] - found.reserved[0]
    assert 5 == len({row.key for row in (*rows, held)})


@pytest.mark.parametrize(
    ("measured", "ran_out"),
    [
        (Figures(verdict="oom"), True),
        (Figures(verdict="ran"), False),
        (Figures(max_batch_size=7), True),
        (Figures(max_batch_size=8), False),
        (Figures(), None),
    ],
)
def test_a_sure_batch_size_that_runs_out_is_found(measured, ran_out):
    """By a run of at most that size, or by a search that ended below it."""
    row = make_row(predicted=Figures(surely_fits_batch_size=8, verdict="tight"), measured=measured)

    assert ran_out == row.surely_ran_out
    found = summarise([row]).verdicts
    assert (ran_out is not None, bool(ran_out)) == (bool(found.sure), bool(found.sure_ran_out))
    assert make_row(predicted=Figures(), measured=measured).surely_ran_out is None


def test_what_was_said_to_fit_is_told_from_what_was_tight():
    """Of all that ran out; only the former was promised."""
    rows = [
        make_row(predicted=Figures(verdict=said), measured=Figures(verdict="oom"))
        for said in ("fits", "tight")
    ]
    found = summarise(rows).verdicts

    assert (2, ["fits"]) == (
        len(found.said_runs_ran_out),
        [said for row in found.said_runs_ran_out if (said := row.predicted.verdict) != "tight"],
    )
