"""The answer in three lines, on traces made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.advice.answer import advice_line, beyond_text, step_hours, time_line, why_text
from actprof.advice.first_aid import cheapest, first_aid
from actprof.advice.room import roomy_batch
from actprof.measurement import Spread
from actprof.prediction.predict import predict_cell
from actprof.results import Verdict
from actprof.units import GIB, MIB


@pytest.fixture
def predicted(seed, make_trace):
    """Return a function that predicts a batch of 512 MiB samples on an RTX 3090, of which 44 run."""

    def result(batch_size: int, **fields):
        cell = seed(batch_size=batch_size, trace=make_trace(activation=512 * MIB), **fields)
        return predict_cell(cell)

    return result


def test_a_run_that_fits_is_told_how_large_its_batch_may_be(predicted):
    """As a flag of lerobot-train; what it names fits, and what runs beyond that is said to be tight."""
    result = predicted(8)
    remedy = first_aid(result)

    assert Verdict.FITS == result.verdict
    assert (Verdict.FITS, ("--batch_size=44",)) == (remedy.after.verdict, remedy.flags)
    said = advice_line(result, remedy)
    assert said.endswith(f" to spare: --batch_size=44 fits too; up to {result.max_batch_size} run, tightly.")


@pytest.mark.parametrize("batch_size", [45, 64, 4000])
def test_a_run_that_does_not_fit_is_told_the_cheapest_remedy(predicted, batch_size):
    """Here a smaller batch that fits, from however far above."""
    result = predicted(batch_size)
    remedy = first_aid(result)

    assert result.verdict in (Verdict.TIGHT, Verdict.OOM)
    assert Verdict.FITS == remedy.after.verdict
    assert advice_line(result, remedy).startswith("What helps: --batch_size=44 fits")
    assert remedy is cheapest([remedy])


def test_where_nothing_helps_it_says_what_looks_further(predicted):
    """Other remedies would have to be traced."""
    result = predicted(64)

    assert "What helps: actprof suggest, with the same options, looks for it." == advice_line(result)


def test_a_batch_with_room_is_the_largest_of_a_few_that_were_tried(predicted):
    """One more sample, and it would not simply fit."""
    roomy = roomy_batch(predicted(64))

    assert Verdict.FITS == roomy.verdict
    assert Verdict.FITS != predicted(roomy.cell.batch_size + 1).verdict


def test_a_card_that_others_fill_is_to_be_freed(predicted):
    """No remedy of the run would help."""
    result = predicted(8, used_by_others_bytes=30 * GIB)

    assert "What helps: to free the card, of which other programs hold 30.00 GiB." == advice_line(result)


def test_what_cannot_be_told_is_to_be_measured(predicted):
    """The reason stands below."""
    result = replace(predicted(8), verdict=Verdict.UNKNOWN, reason="it is compiled", step_seconds=None)

    assert advice_line(result).startswith("What helps: to measure it")
    assert "How long it takes is not known." == time_line(result, step_hours(result))
    assert "Why: it is compiled." == why_text(result)


def test_tight_beyond_the_card_is_explained(predicted):
    """What it takes without limit, and how it gets through all the same."""
    result = replace(predicted(8), verdict=Verdict.TIGHT, reason="it flushes", peak_process_bytes=30 * GIB)

    assert "Without limit it would take 30.00 GiB (127% of the card)" in beyond_text(result)
    assert why_text(result).startswith("Why: it flushes. Without limit")
    assert not beyond_text(replace(result, peak_process_bytes=20 * GIB))


@pytest.mark.parametrize(
    ("steps", "seconds", "expected"),
    [
        (None, 0.8, "10,000 samples take 16.7 min (8.33 to 33.3 min), limited by arithmetic."),
        (100_000, 0.8, "100,000 steps take 22.2 h (11.1 to 44.4 h), limited by arithmetic."),
        (2, 0.8, "2 steps take 1.60 s (800 ms to 3.20 s), limited by arithmetic."),
        (1, 7200.0, "1 step take 2 h (1 to 4 h), limited by arithmetic."),
    ],
)
def test_time_is_told_for_all_steps_or_ten_thousand_samples(predicted, steps, seconds, expected):
    """With its band, and with what limits it."""
    spread = Spread(median=seconds, low=seconds / 2, high=seconds * 2)
    result = replace(predicted(8), step_seconds=spread, limited_by="arithmetic")

    assert expected.replace("step take", "step takes") == time_line(result, step_hours(result, steps))
    ran_out = replace(result, verdict=Verdict.OOM)
    assert " would take " in time_line(ran_out, step_hours(ran_out, steps))
