"""The words of loader results."""

from __future__ import annotations

import pytest
from loader_made import IMAGES_ALONE, PYAV, SMALL, make_result, make_row

from actprof.loading.feed import workers_needed
from actprof.loading.rows import COLD
from actprof.loading.sentences import advise, say_cold, say_result, step_of, times


def test_the_lead_compares_what_runs_today_with_the_fastest():
    """Over all numbers of workers."""
    said = "synthetic 2x640x480 on 2 cores: video 640x480, pyav gives at most 33.3 samples/s; "
    assert said + "the most is 80, by video 224x224, pyav with no workers." == say_result(make_result())


def test_the_lead_says_what_it_compares():
    """Where a way that lerobot does not have is faster, and the table has its number."""
    made = make_result(rows=(make_row(PYAV, 0.02), make_row(IMAGES_ALONE, 0.004)))
    said = "at most 50 samples/s, more than any other of lerobot's ways that was measured"
    assert f"{said} (250 with actions read alone, which lerobot does not do)." in say_result(made)


def test_nothing_measured_is_said():
    """And not divided by."""
    assert "nothing could be measured" in say_result(make_result(rows=()))


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (2.94, "2.9 times faster"),
        (0.01, "100 times slower"),
        (1.04, "no faster or slower"),
        (0.97, "no faster or slower"),
    ],
)
def test_a_ratio_below_one_is_slower(ratio, said):
    """Never `0.01 times faster`."""
    assert said == times(ratio)


def test_the_step_has_the_largest_batch_unless_told():
    """Of those that were measured."""
    result = make_result(rows=(make_row(batch_size=8), make_row(batch_size=32)))
    assert (32, 64) == (step_of(result, None), step_of(result, 64))


def test_advice_says_whether_it_was_measured():
    """Or what it comes to when the cores do not suffice."""
    enough, short = workers_needed([make_row(PYAV, 0.05), make_row(SMALL, 0.01)], 0.1, 2, batch_size=8)
    assert "video 224x224, pyav: 1 worker (computed), 0.8 cores busy with loading" == advise(enough, 2)
    assert "would take 4 workers and 4.0 cores busy with loading, one of the 2 here trains" in advise(
        short, 2
    )
    assert "waiting 75% of the time" in advise(short, 2)


@pytest.mark.parametrize(
    ("cold", "said"),
    [
        (0.08, "12.5 samples/s instead of 20 (video 640x480, pyav)"),
        (0.03, "no slower than the 20 samples/s with them there (video 640x480, pyav)"),
    ],
)
def test_without_the_page_cache_nothing_is_faster(cold, said):
    """What other programs do may make it look so."""
    result = make_result(rows=(make_row(PYAV, cold, cache=COLD), make_row(PYAV, 0.05)))
    assert [said] == say_cold(result)
