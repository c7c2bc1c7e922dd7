"""The search for the largest batch size that runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actprof.prediction.largest_batch import find_boundary


@given(st.integers(0, 4096), st.integers(1, 4096))
def test_a_single_boundary_is_found_exactly(boundary, limit):
    """Where everything up to a size runs and nothing above, that size is found."""
    assert min(boundary, limit) == find_boundary(lambda size: size <= boundary, at_most=limit)


@given(st.integers(5, 500), st.integers(1, 3))
def test_a_size_right_above_one_that_fails_is_luck(boundary, gap):
    """As seen: 59 ran on an H100 held to 11.41 GiB, 60 ran out, and the replay lets 61 through again."""
    holes = range(boundary - gap, boundary)
    found = find_boundary(lambda size: size <= boundary and size not in holes, at_most=boundary + 40)

    assert boundary - gap - 1 == found


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_no_more_than_the_bound_is_ever_tried(boundary, at_most):
    """Sizes that cannot run for a reason known beforehand are not replayed."""
    tried = []

    def runs(size):
        tried.append(size)
        return size <= boundary

    find_boundary(runs, at_most=at_most)

    assert max(tried) <= at_most
    assert len(tried) == len(set(tried))


def test_nothing_that_runs_gives_zero():
    """A device too small for the parameters has no batch size."""
    assert 0 == find_boundary(lambda _size: False)
    assert 0 == find_boundary(lambda _size: True, at_most=0)


def test_few_replays_are_needed_near_a_good_bound():
    """With a bound within 5 % of the boundary the search takes at most a dozen replays."""
    tried = []
    find_boundary(lambda size: tried.append(size) or size <= 1000, at_most=1050)

    assert len(tried) <= 16
