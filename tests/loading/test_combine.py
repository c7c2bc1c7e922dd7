"""How loading and computing add up, as laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.errors import UsageError
from actprof.loading.feed import combine

SECONDS = st.floats(min_value=0.001, max_value=100)
WORKERS = st.integers(min_value=1, max_value=64)


@given(step=SECONDS, load=SECONDS, workers=WORKERS)
def test_with_workers_the_longer_of_both_decides(step, load, workers):
    """Loading runs beside the update."""
    found = combine(step, load, workers, batch_size=8)
    assert max(step, load) == pytest.approx(found.total_seconds)
    assert max(0.0, load - step) == found.data_wait_seconds


@given(step=SECONDS, load=SECONDS)
def test_without_workers_they_add_up(step, load):
    """The process that updates also loads."""
    found = combine(step, load, 0)
    assert step + load == found.total_seconds
    assert load == found.data_wait_seconds


@given(step=SECONDS, load=SECONDS, workers=st.integers(min_value=0, max_value=8))
def test_the_parts_are_the_whole(step, load, workers):
    """Step and wait make the total, the share is the wait's, and the rate is the batch over the total."""
    found = combine(step, load, workers, batch_size=32)
    assert found.total_seconds == found.step_seconds + found.data_wait_seconds
    assert found.data_wait_seconds / found.total_seconds == found.data_share
    assert 0 <= found.data_share < 1
    assert 32 / found.total_seconds == found.samples_per_second
    assert ("data" if load > step else "step") == found.limited_by


@given(step=SECONDS, load=SECONDS, more=SECONDS, workers=st.integers(min_value=0, max_value=8))
def test_slower_loading_never_helps(step, load, more, workers):
    """The total grows with the time of a batch, and workers never make it longer."""
    assert combine(step, load, workers).total_seconds <= combine(step, load + more, workers).total_seconds
    assert combine(step, load, 1).total_seconds <= combine(step, load, 0).total_seconds


@pytest.mark.parametrize(
    ("load", "options", "said"),
    [
        (0.1, {"workers": -1}, "number of workers"),
        (-0.1, {"workers": 1}, "below zero"),
    ],
)
def test_what_cannot_be_combined_is_refused(load, options, said):
    """The message names it."""
    with pytest.raises(UsageError, match=said):
        combine(0.3, load, **options)
