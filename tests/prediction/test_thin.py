"""Thinned timelines keep what matters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actprof.replay.profile import Timeline, thin


def timeline(values):
    array = np.array(values, dtype=np.int64)
    return Timeline(
        allocated=array, reserved=array * 2, phase=np.zeros(len(values), np.int64), step_starts=(0,)
    )


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=2000), st.integers(1, 500))
def test_the_highest_moment_survives(values, points):
    """However few points are kept, the highest value is among them."""
    curve = thin(timeline(values), points=points)

    assert max(values) == max(curve.allocated_bytes)
    assert len(curve.allocated_bytes) <= points


def test_a_short_timeline_is_kept_whole():
    """Fewer events than points: nothing is thinned."""
    assert (3, 1, 2) == thin(timeline([3, 1, 2])).allocated_bytes
