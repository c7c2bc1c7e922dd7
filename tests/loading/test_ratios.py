"""Ratios compare ways of loading that differ in one thing."""

from __future__ import annotations

import pytest
from loader_made import IMAGES, IMAGES_ALONE, IN_LOADER, PYAV, SMALL, TORCHCODEC, make_result, make_row

from actprof.loading.ratios import CODEC, RESIZED, STORED, find_ratios
from actprof.loading.ratios import IN_LOADER as RESIZED_IN_LOADER


def test_every_change_is_a_ratio_of_its_two_rows():
    """Before over after, seconds per sample."""
    found = {(ratio.change, ratio.before, ratio.after): ratio.times for ratio in find_ratios(make_result())}
    assert {
        (RESIZED, PYAV, SMALL): pytest.approx(4.0),
        (STORED, PYAV, IMAGES): pytest.approx(0.05 / 6),
        (STORED, PYAV, IMAGES_ALONE): pytest.approx(1.25),
        (RESIZED_IN_LOADER, PYAV, IN_LOADER): pytest.approx(0.05 / 0.055),
    } == found


def test_torchcodec_is_compared_where_it_could_be_loaded():
    """Against pyav on the same files."""
    rows = (make_row(PYAV, 0.06), make_row(TORCHCODEC, 0.02))
    (ratio,) = find_ratios(make_result(rows=rows))
    assert (CODEC, 3.0) == (ratio.change, pytest.approx(ratio.times))


def test_no_rows_have_no_ratios():
    """Nothing to divide."""
    assert () == find_ratios(make_result(rows=()))
