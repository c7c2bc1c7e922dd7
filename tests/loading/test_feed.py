"""What keeps a step fed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_made import IMAGES, PYAV, SMALL, make_result, make_row

from actprof.errors import UsageError
from actprof.loading.feed import workers_needed

SECONDS = st.floats(min_value=0.001, max_value=10)


def only(rows, step, cores, batch_size=8):
    """Return the advice for the only source."""
    (feed,) = workers_needed(rows, step, cores, batch_size=batch_size)
    return feed


def test_workers_are_what_fits_into_the_step():
    """Eight samples of 50 ms in 0.1 s: four at once, on four cores and one for the training process."""
    feed = only([make_row(sample=0.05)], 0.1, 5)
    assert (4, True, False) == (feed.workers, feed.fits, feed.is_measured)
    assert 4.0 == pytest.approx(feed.cores)
    assert 80 == pytest.approx(feed.samples_per_second)
    assert 0 == feed.data_share


def test_too_few_cores_are_too_few():
    """The same on two: one is left for loading, and the loop waits three quarters of its time."""
    feed = only([make_row(sample=0.05)], 0.1, 2)
    assert not feed.fits
    assert 0.75 == pytest.approx(feed.data_share)
    assert 20 == pytest.approx(feed.samples_per_second)


def test_what_was_measured_decides():
    """Two workers that keep up are enough, whatever is computed; that they do not is believed as well."""
    rows = [make_row(sample=0.05), make_row(sample=0.03, workers=2)]
    assert (2, True) == ((feed := only(rows, 0.25, 2)).workers, feed.is_measured)
    slow = [make_row(sample=0.05, cpu=0.001), make_row(sample=0.05, workers=4)]
    assert not only(slow, 0.1, 16).fits


def test_the_fewest_workers_that_keep_up_are_named():
    """One is enough although two were measured as well."""
    rows = [make_row(sample=0.05), make_row(sample=0.05, workers=1), make_row(sample=0.03, workers=2)]
    assert 1 == only(rows, 0.5, 2).workers


def test_what_works_comes_first():
    """Then the fewest cores; sources without figures are left out."""
    feeds = workers_needed(make_result().rows, 0.2, 2, batch_size=8)
    assert SMALL == feeds[0].source
    assert IMAGES == feeds[-1].source
    assert 5 == len(feeds)


@given(sample=SECONDS, step=SECONDS, cores=st.integers(min_value=1, max_value=64), size=st.integers(1, 256))
def test_more_cores_and_longer_steps_never_hurt(sample, step, cores, size):
    """What is fed stays fed, and waiting never grows."""
    rows = [make_row(sample=sample)]
    feed = only(rows, step, cores, size)
    more, longer = only(rows, step, cores + 1, size), only(rows, step * 1.5, cores, size)
    assert feed.fits <= more.fits
    assert feed.fits <= longer.fits
    assert more.data_share <= feed.data_share + 1e-9
    assert longer.data_share <= feed.data_share + 1e-9
    assert feed.workers >= 1


@given(sample=SECONDS, step=SECONDS, size=st.integers(1, 256))
def test_so_many_workers_do_load_a_batch_per_step(sample, step, size):
    """And one less does not."""
    feed = only([make_row(PYAV, sample)], step, 8, size)
    assert size * sample / feed.workers <= step * (1 + 1e-6)
    assert feed.workers == 1 or size * sample / (feed.workers - 1) > step * (1 - 1e-6)


@pytest.mark.parametrize(("step", "cores", "size"), [(0, 2, 8), (-1, 2, 8), (1, 0, 8), (1, 2, 0)])
def test_a_step_that_cannot_be_is_refused(step, cores, size):
    """Nothing is divided by zero."""
    with pytest.raises(UsageError, match="above zero"):
        workers_needed([make_row()], step, cores, batch_size=size)
